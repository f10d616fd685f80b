import { isFailureCode, type FailureCode } from './failure-table.ts';
import { VERDICTS, type Verdict } from './mount-belief.ts';
import { parseSha256, type Sha256 } from './digest.ts';

/** What made the runner end the script: its deadline, or a TERM. Who sent the TERM only the agent can know. */
export type StoppedBy = 'deadline' | 'signal';

/** Artifacts of a script that worked on local disk which did not get to the volume: how many, and the first of them. */
export interface NotCollected {
  readonly files: number;
  readonly bytes: number;
  readonly first: readonly { readonly path: string; readonly bytes: number; readonly says: string }[];
}

/** What a runner saw of its mount, where that was not always trusted. */
export interface MountReport {
  /** At the end. */
  readonly verdict: Verdict;
  readonly says: string;
  /** How often and, together, how long it was not trusted. */
  readonly stalls: number;
  readonly stalledMs: number;
}

/** The last thing a runner says: how the script ended. Success needs one of these, authentic (invariant 4). */
export interface EndRecord {
  /** Exit code of the script's own process; null where it never started or a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stoppedBy: StoppedBy | null;
  /** Why nothing ran, or why the runner gave up; null after an ordinary run. */
  readonly fault: { readonly code: FailureCode; readonly says: string } | null;
  readonly startedAt: string;
  readonly endedAt: string;
  /** Number of the last line before this record, notes included; bytes are the script's, before masking. */
  readonly lines: number;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** SHA-256 over the payloads of all frames before this one, in their order. */
  readonly journalDigest: Sha256;
  /** Frames that the volume's copy of the journal does not have. */
  readonly framesNotOnVolume: number;
  /** Lines that were not kept because the journal reached its limit. */
  readonly linesOverLimit: number;
  /** Processes of the script that were still there when it ended and were ended too. */
  readonly leftBehind: number;
  /** Times that the kernel killed for memory in the runner's cgroup, or null where that cannot be read. */
  readonly oomKills: number | null;
  /** Left out where the volume has all that the script left. */
  readonly notCollected?: NotCollected;
  /** Left out where the mount was trusted all the time. */
  readonly mount?: MountReport;
}

/** Reads the JSON of an end record; undefined where a member is missing or of another type. */
export function parseEndRecord(text: string): EndRecord | undefined {
  const value = parseJson(text);
  if (typeof value !== 'object' || value === null) return undefined;
  const record = value as Record<string, unknown>;
  const wellFormed =
    isNullOr(record['exitCode'], isCount) &&
    isNullOr(record['signal'], isString) &&
    isNullOr(record['stoppedBy'], (by) => by === 'deadline' || by === 'signal') &&
    isNullOr(record['fault'], isFault) &&
    isString(record['startedAt']) &&
    isString(record['endedAt']) &&
    COUNTS.every((name) => isCount(record[name])) &&
    isString(record['journalDigest']) &&
    parseSha256(record['journalDigest']) !== undefined &&
    isNullOr(record['oomKills'], isCount) &&
    isLeftOutOr(record['notCollected'], isNotCollected) &&
    isLeftOutOr(record['mount'], isMountReport);
  // Every member was just checked against the type.
  return wellFormed ? (value as EndRecord) : undefined;
}

const COUNTS = [
  'lines',
  'stdoutBytes',
  'stderrBytes',
  'framesNotOnVolume',
  'linesOverLimit',
  'leftBehind',
] as const;

function isFault(value: unknown): boolean {
  const { code, says } = (value ?? {}) as Record<string, unknown>;
  return isString(code) && isFailureCode(code) && isString(says);
}

function isNotCollected(value: unknown): boolean {
  const { files, bytes, first } = (value ?? {}) as Record<string, unknown>;
  return isCount(files) && isCount(bytes) && Array.isArray(first) && first.every(isNamed);
}

function isMountReport(value: unknown): boolean {
  const { verdict, says, stalls, stalledMs } = (value ?? {}) as Record<string, unknown>;
  const known = VERDICTS.some((one) => one === verdict);
  return known && isString(says) && [stalls, stalledMs].every(isCount);
}

function isNamed(value: unknown): boolean {
  const { path, bytes, says } = (value ?? {}) as Record<string, unknown>;
  return isString(path) && isCount(bytes) && isString(says);
}

function isLeftOutOr(value: unknown, is: (value: unknown) => boolean): boolean {
  return value === undefined || is(value);
}

function isNullOr(value: unknown, is: (value: unknown) => boolean): boolean {
  return value === null || is(value);
}

function isString(value: unknown): value is string {
  return typeof value === 'string';
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON is not an end record; the caller treats it as missing, never as success.
    return undefined;
  }
}
