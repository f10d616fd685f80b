import { isFailureCode, type FailureCode } from './failure-table.ts';
import { parseSha256, type Sha256 } from './digest.ts';

/** What made the runner end the script: its deadline, or a TERM. Who sent the TERM only the agent can know. */
export type StoppedBy = 'deadline' | 'signal';

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
    isNullOr(record['oomKills'], isCount);
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
