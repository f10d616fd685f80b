import type { PermissionFacts, Sightings, TrialFailure } from './trial-words.ts';

/** What becomes visible on the other node. */
export const CHANGES = ['create', 'append', 'rename', 'delete', 'list'] as const;
export type Change = (typeof CHANGES)[number];

/** Milliseconds from when one side had made a change to when the other saw it; null where it did not in time. */
export type Visibility = Readonly<Record<Change, number | null>>;

/** What the program in a pod is to do. */
export interface NodeOrder {
  /** left makes changes, right watches them, inside looks at a folder that left made a moment ago. */
  readonly side: 'left' | 'right' | 'inside';
  /** The doctor's folder in the pod; for `inside` the mount of the folder that it is to see. */
  readonly folder: string;
  /** 16 random hex digits that all sides of a run know, and nobody else. */
  readonly word: string;
  /** For all of it. */
  readonly limitMs: number;
  /** For one change to be seen. */
  readonly seenMs: number;
  readonly rounds: number;
}

/** A line of such a program, in the log of its pod. */
export type NodeLine =
  /** The folder for `inside` is there. */
  | { readonly type: 'made' }
  | { readonly type: 'user'; readonly facts: PermissionFacts }
  | { readonly type: 'mount'; readonly options: string }
  /** The two found each other. */
  | { readonly type: 'met' }
  | { readonly type: 'seen'; readonly seen: Visibility }
  | { readonly type: 'race'; readonly names: number; readonly doubled: number; readonly missing: number }
  | { readonly type: 'whole'; readonly renames: number; readonly seen: Sightings }
  /** What `inside` sees where a file with the word of the run should be. */
  | { readonly type: 'inside'; readonly isThere: boolean; readonly entries: readonly string[] }
  /** Nobody came to the folder for `inside` while it was there. */
  | { readonly type: 'unvisited' }
  | { readonly type: 'failed'; readonly failure: TrialFailure }
  | { readonly type: 'end' };

/** What left says to right over their connection. */
export type LeftWord =
  | { readonly do: 'watch'; readonly round: number }
  | { readonly do: 'changed'; readonly change: Change }
  | { readonly do: 'race'; readonly names: number }
  | { readonly do: 'read' }
  | { readonly do: 'stop-reading' }
  | { readonly do: 'end' };

/** What right answers. */
export type RightWord =
  | { readonly is: 'hello'; readonly word: string }
  | { readonly is: 'watching' }
  | { readonly is: 'seen'; readonly seen: Visibility }
  | { readonly is: 'raced'; readonly won: readonly number[] }
  | { readonly is: 'reading' }
  | { readonly is: 'read'; readonly seen: Sightings }
  | { readonly is: 'failed'; readonly failure: TrialFailure };

/** How a side tells what it found, and when it is to end. */
export interface NodeHost {
  readonly say: (line: NodeLine) => void;
  readonly signal: AbortSignal;
}

/** Places of a run inside the doctor's folder. */
export const placesIn = (folder: string) => ({
  address: `${folder}/right-address`,
  sub: `${folder}/sub`,
  mark: `${folder}/sub/${MARK}`,
  visited: `${folder}/sub/${VISITED}`,
  raced: (name: number) => `${folder}/race/${name}`,
  race: `${folder}/race`,
  whole: `${folder}/whole`,
  /** The file of a change in a round; each has a folder of its own, since a look at one freshens its neighbours. */
  change: (round: number, change: Change) => ({
    folder: `${folder}/${change}-${round}`,
    file: `${folder}/${change}-${round}/file`,
  }),
});

export const MARK = 'mark';
export const VISITED = 'visited';
