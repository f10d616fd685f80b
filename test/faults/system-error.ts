import { constants } from 'node:os';

export type ErrnoName = keyof typeof constants.errno;

/** An errno that the file system answers. */
export class SystemError extends Error {
  /** Positive. */
  readonly errno: number;

  constructor(name: ErrnoName) {
    super(name);
    this.errno = constants.errno[name];
  }
}

/** The errno of an error of a system call or of ours; an error that has none is a bug here and is thrown again. */
export function errnoOf(error: unknown): number {
  const errno = error instanceof Error && 'errno' in error ? error.errno : undefined;
  if (typeof errno !== 'number') throw error;
  return Math.abs(errno);
}
