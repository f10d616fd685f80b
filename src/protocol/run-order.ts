import type { Sha256 } from './digest.ts';
import type { MountLimits } from './mount-belief.ts';
import type { ScriptKey, Ticket } from './ticket.ts';

/** Languages that the runner has an interpreter for. */
export const LANGUAGES = ['bash'] as const;
export type Language = (typeof LANGUAGES)[number];

export interface Variable {
  readonly name: string;
  readonly value: string;
  readonly sensitive: boolean;
}

/** Where a script works: in its workspace on the volume, or on a copy of it on local disk. */
export const STORAGES = ['shared', 'copied'] as const;
export type ScriptStorage = (typeof STORAGES)[number];

/** What a runner is told of a script that works on local disk. */
export interface CopyOrder {
  /** Absolute; the executor says where, and null is no order for a runner. */
  readonly folder: string | null;
  /** Staged bytes that may be copied there, and bytes of artifacts that are brought back. */
  readonly maxBytes: number;
  /** For bringing the artifacts to the volume; what is left then is told and not brought. */
  readonly collectMs: number;
}

/**
 * All that a runner is told. It never travels over the volume: on one machine it comes through the runner's stdin,
 * in a cluster through a Secret, since it holds the script's key and its sensitive values.
 */
export interface RunOrder {
  readonly version: 1;
  readonly key: ScriptKey;
  readonly ticket: Ticket;
  /** Key of the journal frames, 32 bytes as base64. */
  readonly journalKey: string;
  /** The script's processes carry it in their environment; that is how strays are found at the end. */
  readonly cookie: string;
  /** Workspace as the runner sees it, absolute. */
  readonly workspace: string;
  /** `identity/epoch` as the runner sees it, and what must stand in it. */
  readonly epochFile: string;
  readonly epoch: string;
  readonly manifestDigest: Sha256;
  readonly language: Language;
  readonly arguments: readonly string[];
  readonly variables: readonly Variable[];
  /** From the start of the script's process to its TERM; null for none. */
  readonly deadlineMs: number | null;
  /** From TERM to KILL. */
  readonly graceMs: number;
  /** After the script's process ended: how long others may hold its output open. */
  readonly drainMs: number;
  /** Sealed journal bytes that are kept; lines beyond it are counted. */
  readonly journalMaxBytes: number;
  /** A read or write on the volume that takes longer is given up. */
  readonly volumeDeadlineMs: number;
  /** A folder of the volume, as the runner sees it, that is there whatever the volume holds. */
  readonly mountFolder: string;
  /** When the runner believes what of its mount. */
  readonly mount: MountLimits;
  /** Null for a script that works in its workspace. */
  readonly copy: CopyOrder | null;
}

/** What `out/started` says: who took the right to run this script, the only one that will ever be given. */
export type StartedClaim =
  | {
      readonly by: 'runner';
      readonly pid: number;
      /** Field 22 of /proc/<pid>/stat: with the boot id it tells a process from a later one of the same number. */
      readonly startTicks: string;
      readonly bootId: string;
      readonly host: string;
      /** The runner's stdout where that is a file: the first witness of the journal. */
      readonly stdout: string | null;
      readonly at: string;
    }
  | {
      readonly by: 'agent';
      readonly reason: string;
      readonly at: string;
      /** What is known of the reason, beyond its code. */
      readonly says?: string;
      readonly evidence?: Readonly<Record<string, unknown>>;
    };

/** Reads `out/started`; undefined where it is not whole (its writer was killed in the middle, or is still writing). */
export function parseStartedClaim(text: string): StartedClaim | undefined {
  try {
    const value = JSON.parse(text) as Record<string, unknown> | null;
    const strings = value?.['by'] === 'runner' ? ['startTicks', 'bootId', 'host', 'at'] : ['reason', 'at'];
    if (value === null || (value['by'] !== 'runner' && value['by'] !== 'agent')) return undefined;
    if (value['by'] === 'runner' && !Number.isSafeInteger(value['pid'])) return undefined;
    // Checked member by member above and below.
    return strings.every((name) => typeof value[name] === 'string')
      ? (value as unknown as StartedClaim)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Reads a run order; undefined unless it is JSON of this version. The sender is trusted: it is the agent. */
export function parseRunOrder(text: string): RunOrder | undefined {
  try {
    const value = JSON.parse(text) as RunOrder | null;
    return value?.version === 1 ? value : undefined;
  } catch {
    // An order cut off in the middle means that the agent died while it sent it: nothing was claimed, nothing runs.
    return undefined;
  }
}
