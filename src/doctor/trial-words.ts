/** How often something was read while it was replaced, and what was wrong with it. */
export interface Sightings {
  readonly reads: number;
  readonly absent: number;
  /** Neither the old nor the new one. */
  readonly mixed: number;
  /** ESTALE: the file was replaced between two calls of the reader, who has to open it again. */
  readonly stale: number;
}

export interface RenameFacts extends Sightings {
  readonly renames: number;
  /** The name holds what was renamed to it last, and the other name is gone. */
  readonly isLast: boolean;
}

export interface ExclusiveFacts {
  readonly names: number;
  readonly creators: number;
  readonly doubled: number;
  readonly missing: number;
}

export interface PermissionFacts {
  readonly uid: number;
  readonly gid: number;
  readonly ownerUid: number;
  readonly ownerGid: number;
  /** Of a file after chmod 0444. */
  readonly mode: number;
}

export interface SpaceFacts {
  readonly bytes: number;
  /** With its fsync. */
  readonly seconds: number;
  readonly freeBefore: number;
  readonly freeFull: number;
  readonly freeAfter: number;
}

/** The calls that are timed one by one. */
export const TIMED_CALLS = ['create', 'fsync', 'rename', 'open', 'list', 'unlink'] as const;
export type TimedCall = (typeof TIMED_CALLS)[number];
export type Latencies = Readonly<Record<TimedCall, readonly number[]>>;

/** Every trial, and the facts that it brings; nothing is judged where they are gathered. */
export interface Trials {
  readonly answers: { readonly realPath: string; readonly ms: number };
  readonly folder: { readonly swept: number };
  readonly rename: RenameFacts;
  readonly exclusive: ExclusiveFacts;
  readonly fsync: { readonly fileMs: readonly number[]; readonly folderMs: readonly number[] };
  readonly 'close-to-open': { readonly rounds: number; readonly wrong: number };
  readonly listing: { readonly files: number; readonly unseen: number; readonly stillSeen: number };
  /** The errno of a refusal. */
  readonly links: { readonly refused?: number };
  readonly permissions: PermissionFacts;
  readonly space: SpaceFacts;
  readonly 'small-files': { readonly files: number; readonly seconds: number };
  readonly latency: Latencies;
  readonly cleanup: { readonly removed: true };
}
export type TrialName = keyof Trials;

/** A trial that ended by an error. */
export interface TrialFailure {
  readonly says: string;
  /** Positive number of errno(3), where it has one. */
  readonly errno?: number;
}

/** One trial that is wanted. `folder` is the volume for `answers`, otherwise the doctor's own folder on it. */
export interface TrialOrder {
  readonly id: number;
  readonly trial: TrialName;
  readonly folder: string;
}

/** A line of the child that makes trials. */
export type TrialLine =
  | { readonly type: 'ready' }
  | { readonly type: 'facts'; readonly id: number; readonly facts: Trials[TrialName] }
  | { readonly type: 'failed'; readonly id: number; readonly failure: TrialFailure };

/** Reads a line that our own program wrote at the other end; undefined for what else gets there. */
export function parsedLine<T>(line: string): T | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    // Both ends are of one version, so that the shape is what the types say.
    return JSON.parse(line) as T;
  } catch {
    return undefined;
  }
}
