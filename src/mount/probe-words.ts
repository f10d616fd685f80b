/** What a probe looks at: whether the volume answers, or whether it takes bytes. Each has a process of its own. */
export type ProbeKind = 'liveness' | 'canary';

export const PROBE_KINDS = ['liveness', 'canary'] as const satisfies readonly ProbeKind[];

/** Where a probe looks; absolute paths of the volume. */
export interface ProbePlaces {
  /** The folder that the volume is mounted at. */
  readonly root: string;
  readonly epoch: string;
  /** The folder of canaries, and the file in it that is this agent's own. */
  readonly canaries: string;
  readonly canary: string;
}

/** One probe that is wanted. */
export interface ProbeOrder {
  readonly id: number;
  readonly kind: ProbeKind;
  readonly deadlineMs: number;
  /** Children of this kind that may have been killed and not be gone yet; with so many, none is added. */
  readonly maxLeaked: number;
  readonly places: ProbePlaces;
}

/** One system call, or a few that belong together, of a probe; in the order in which they were made. */
export interface ProbeStep {
  readonly step: 'statfs' | 'epoch' | 'list' | 'write' | 'rename' | 'read' | 'sweep';
  readonly seconds: number;
  /** Positive number of errno(3), where it failed. ENOENT is one of them. */
  readonly errno?: number;
  /** What an epoch file holds, at most 1024 bytes. */
  readonly text?: string;
  /** Why an answer is wrong that came without an error. */
  readonly says?: string;
}

/**
 * How a probe went.
 *
 * `answered`: all its steps came back, with whatever result. `missed`: it was killed at the deadline, and `steps` are
 * those that came back before. `none`: nothing was asked of the volume, and `says` why.
 */
export interface ProbeReport {
  readonly kind: ProbeKind;
  readonly end: 'answered' | 'missed' | 'none';
  readonly steps: readonly ProbeStep[];
  readonly seconds: number;
  readonly says?: string;
  /** Children of this kind that were killed and are not gone yet: the kernel holds them. */
  readonly leaked: number;
}

/** A line from a child to the nursery. */
export type ChildLine =
  | { readonly type: 'ready' }
  | { readonly type: 'step'; readonly id: number; readonly step: ProbeStep }
  | { readonly type: 'done'; readonly id: number };

/** A line from the nursery to the agent. */
export interface NurseryLine {
  readonly id: number;
  readonly report: ProbeReport;
}

/**
 * Reads a line that our own program wrote at the other end of a pipe; undefined for what else gets into one, such as
 * the last words of a Node that crashes.
 */
export function parseLine<T extends ChildLine | NurseryLine | ProbeOrder>(line: string): T | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    // Both ends are the same bundle, so that the shape is what the types say.
    return JSON.parse(line) as T;
  } catch {
    return undefined;
  }
}
