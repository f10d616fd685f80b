import type { Volume } from '../mount/volume.ts';

type Done = (error: Error | null) => void;
type WithTime = (error: Error | null, stat?: { mtime: Date }) => void;

/** The functions of node:fs that proper-lockfile calls, in its spelling. */
export interface LockFiles {
  mkdir(path: string, done: Done): void;
  rmdir(path: string, done: Done): void;
  utimes(path: string, accessed: Date, modified: Date, done: Done): void;
  stat(path: string, done: WithTime): void;
}

/** What tells one lock folder from a later one of the same name, and a refreshed one from one that was not. */
export interface LockMark {
  readonly inode: bigint;
  readonly modifiedMs: number;
}

export interface LockFileEvents {
  readonly refreshed: (path: string) => void;
  /** The folder that this process made, so that it never removes another's. */
  readonly ownInode: (path: string) => bigint | undefined;
}

/**
 * Lets proper-lockfile work on the volume through the gate. One object for each mount: the library keeps the precision
 * of the mount's clock on it.
 *
 * There is no rmdirSync: at the exit of the process the library would call it, and wait for a hung mount.
 */
export function lockFilesOn(volume: Volume, events: LockFileEvents): LockFiles {
  return {
    mkdir: (path, done) => {
      answer(done, async () => {
        if (!(await volume.makeFolder(path))) throw errnoError('EEXIST', path);
      });
    },
    rmdir: (path, done) => {
      answer(done, async () => {
        const own = events.ownInode(path);
        const mark = own === undefined ? undefined : await volume.look(path);
        // Somebody took it over: what is there now is theirs.
        if (mark !== undefined && mark.inode !== own) return;
        await volume.removeFolder(path);
      });
    },
    utimes: (path, _accessed, modified, done) => {
      answer(done, async () => {
        if (!(await volume.setTimes(path, isProbe(modified) ? presentTime() : modified)))
          throw errnoError('ENOENT', path);
        events.refreshed(path);
      });
    },
    // By open and fstat: a plain stat on NFS may be half a minute old, and a live lock looked free.
    stat: (path, done) => {
      lookAt(volume, path).then(
        (mark) => {
          const own = events.ownInode(path);
          // Another's lock is none of ours. The library would compare times, and the first two of a second are equal.
          if (mark === undefined || (own !== undefined && own !== mark.inode))
            done(errnoError('ENOENT', path));
          else done(null, { mtime: new Date(Math.round(mark.modifiedMs)) });
        },
        (error: unknown) => done(asError(error)),
      );
    },
  };
}

/**
 * To learn the precision of the mount's clock, the library sets the first lock to the next second and 5 ms, and then
 * reads what came of it. Two first locks of one second would have one time; the present serves as well.
 */
function isProbe(at: Date): boolean {
  return at.getTime() % 1000 === 5 && at.getTime() > Date.now();
}

/** Never on a whole second, which the library would take for a clock of seconds. */
function presentTime(): Date {
  const now = Date.now();
  return new Date(now % 1000 === 0 ? now + 1 : now);
}

/** Reads the mark of a lock; undefined where it is free. */
export async function lookAt(volume: Volume, path: string): Promise<LockMark | undefined> {
  const facts = await volume.look(path);
  return facts && { inode: facts.inode, modifiedMs: facts.modifiedMs };
}

function answer(done: Done, work: () => Promise<void>): void {
  work().then(
    () => done(null),
    (error: unknown) => done(asError(error)),
  );
}

/** The library looks at nothing but `code`. */
function errnoError(code: 'EEXIST' | 'ENOENT', path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
