import { constants } from 'node:os';
import type { FailureCode } from '../protocol/failure-table.ts';
import { Fault, type FaultDetail } from '../protocol/fault.ts';

/** What a number of errno(3) means for the volume. `absent` and `exists` are answers, not failures. */
export type ErrnoMeaning =
  'absent' | 'exists' | 'stale' | 'full' | 'readonly' | 'denied' | 'unavailable' | 'unknown';

// By number: Node has no name for ESTALE, EDQUOT and others and calls them "Unknown system error -116".
const { errno } = constants;
const MEANINGS: ReadonlyMap<number, ErrnoMeaning> = new Map<number, ErrnoMeaning>([
  [errno.ENOENT, 'absent'],
  [errno.ENOTDIR, 'absent'],
  [errno.EEXIST, 'exists'],
  [errno.ENOTEMPTY, 'exists'],
  [errno.ESTALE, 'stale'],
  [errno.ENOSPC, 'full'],
  [errno.EDQUOT, 'full'],
  [errno.EFBIG, 'full'],
  [errno.EROFS, 'readonly'],
  [errno.EACCES, 'denied'],
  [errno.EPERM, 'denied'],
  [errno.EIO, 'unavailable'],
  [errno.ENXIO, 'unavailable'],
  [errno.EPROTO, 'unavailable'],
  [errno.ENOTCONN, 'unavailable'],
  [errno.ETIMEDOUT, 'unavailable'],
  [errno.EHOSTUNREACH, 'unavailable'],
  [108, 'unavailable'], // ESHUTDOWN
  [112, 'unavailable'], // EHOSTDOWN
  [121, 'unavailable'], // EREMOTEIO
]);

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(errno).map(([name, number]) => [number, name]),
);

const CODES = {
  stale: 'STORAGE_STALE',
  full: 'STORAGE_FULL',
  readonly: 'STORAGE_READONLY',
  denied: 'STORAGE_DENIED',
  unavailable: 'STORAGE_ERROR',
  absent: 'STORAGE_ERROR',
  exists: 'STORAGE_ERROR',
  unknown: 'STORAGE_ERROR',
} as const satisfies Record<ErrnoMeaning, FailureCode>;

/** Returns the positive number of an error of a system call, or undefined for any other value. */
export function errnoOf(error: unknown): number | undefined {
  const number = error instanceof Error && 'errno' in error ? error.errno : undefined;
  return typeof number === 'number' ? Math.abs(number) : undefined;
}

/** Returns what the errno of `error` means; `unknown` for errors that have none and for numbers not in the table. */
export function meaningOf(error: unknown): ErrnoMeaning {
  const cause = error instanceof Fault ? error.cause : error;
  return meaningOfErrno(errnoOf(cause) ?? 0);
}

/** As `meaningOf`, for the bare number. */
export function meaningOfErrno(number: number): ErrnoMeaning {
  return MEANINGS.get(number) ?? 'unknown';
}

/** Names a number of errno(3): `ESTALE`, or `errno-512` for one that has no name here. */
export function errnoNameOf(number: number): string {
  return NAMES.get(number) ?? `errno-${number}`;
}

/** Names an errno for logs and metric labels: `ESTALE`, or `errno-512` for a number that has no name here. */
export function errnoName(error: unknown): string {
  const number = errnoOf(error);
  return number === undefined ? 'none' : errnoNameOf(number);
}

/** Turns the error of an operation on the volume into a Fault that keeps it as its cause. */
export function storageFault(operation: string, path: string, error: unknown): Fault {
  const detail: FaultDetail = { operation, path, errno: errnoName(error) };
  const message = `cannot ${operation} ${path}: ${error instanceof Error ? error.message : String(error)}`;
  return new Fault(CODES[meaningOf(error)], message, { cause: error, detail });
}
