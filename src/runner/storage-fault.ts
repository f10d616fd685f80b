import { constants } from 'node:os';
import type { FailureCode } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';

const { errno } = constants;

// By number: Node has no name for ESTALE and EDQUOT and calls them "Unknown system error -116".
const CODES: ReadonlyMap<number, FailureCode> = new Map<number, FailureCode>([
  [errno.ESTALE, 'STORAGE_STALE'],
  [errno.ENOSPC, 'STORAGE_FULL'],
  [errno.EDQUOT, 'STORAGE_FULL'],
  [errno.EFBIG, 'STORAGE_FULL'],
  [errno.EROFS, 'STORAGE_READONLY'],
  [errno.EACCES, 'STORAGE_DENIED'],
  [errno.EPERM, 'STORAGE_DENIED'],
]);

/** EPERM, EMLINK, ENOSYS, EOPNOTSUPP: what link(2) says on file systems without hard links. */
const NO_LINKS: ReadonlySet<number> = new Set([1, 31, 38, 95]);

/** Returns the positive number of an error of a system call, also below a Fault; undefined for any other value. */
export function errnoOf(error: unknown): number | undefined {
  // Not below faults of the local disk: what is absent there is not absent on the volume.
  const below = error instanceof Fault && error.code.startsWith('STORAGE_') ? error.cause : error;
  const number = below instanceof Error && 'errno' in below ? below.errno : undefined;
  return typeof number === 'number' ? Math.abs(number) : undefined;
}

/** Tells whether the path is not there: absent, or in the way of it a file where a folder should be. */
export function isAbsent(error: unknown): boolean {
  return errnoOf(error) === errno.ENOENT || errnoOf(error) === errno.ENOTDIR;
}

/** Tells whether something else than a file is at the path: a folder (EISDIR), a link (ELOOP). */
export function isNoFile(error: unknown): boolean {
  return errnoOf(error) === errno.EISDIR || errnoOf(error) === errno.ELOOP;
}

/** Tells whether the name is taken. */
export function isTaken(error: unknown): boolean {
  return errnoOf(error) === errno.EEXIST;
}

/** Tells whether the file system has no hard links. */
export function hasNoLinks(error: unknown): boolean {
  return NO_LINKS.has(errnoOf(error) ?? 0);
}

/** Tells whether fsync of a folder is something that the file system does not know: EINVAL, ENOSYS, EOPNOTSUPP. */
export function cannotSyncFolders(error: unknown): boolean {
  return [22, 38, 95].includes(errnoOf(error) ?? 0);
}

/** Tells whether a client may see this for some seconds on a volume that is whole: its caches are behind. */
export function mayPass(error: unknown): boolean {
  return errnoOf(error) === errno.ENOENT || errnoOf(error) === errno.ESTALE;
}

/** Turns the error of a call on the volume into a Fault that keeps it as its cause. */
export function storageFault(operation: string, path: string, error: unknown): Fault {
  const number = errnoOf(error);
  const code = (number === undefined ? undefined : CODES.get(number)) ?? 'STORAGE_ERROR';
  const text = error instanceof Error ? error.message : String(error);
  return new Fault(code, `cannot ${operation} ${path}: ${text}`, {
    cause: error,
    detail: { operation, path },
  });
}
