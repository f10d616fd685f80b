import { performance } from 'node:perf_hooks';
import lockfile from 'proper-lockfile';
import type { Volume } from '../mount/volume.ts';
import { Fault } from '../protocol/fault.ts';
import { temporaryBeside } from './atomic-file.ts';
import { lockFilesOn, lookAt, type LockFiles, type LockMark } from './lock-files.ts';

export interface LockOptions {
  /** A lock that was not refreshed for so long, on our own clock, may be taken over. At least 30 s outside tests. */
  readonly staleMs: number;
  /** Time between two refreshes; at least 1000. */
  readonly updateMs: number;
}

export interface HeldLock {
  /** Aborts when the lock is lost, or was not refreshed for half of `staleMs`. */
  readonly signal: AbortSignal;
  /** Never fails: what cannot be released becomes stale. */
  release(): Promise<void>;
}

/** What this process has of a lock it holds. */
interface Holding {
  readonly inode: bigint;
  refreshedAt: number;
}

/** Since when a mark has been the same, as far as this process saw. */
interface Sighting {
  readonly mark: LockMark;
  readonly since: number;
  /** It was another one before: somebody refreshes it. */
  readonly refreshed: boolean;
}

/**
 * Locks on the volume, so that two agents do not do the same work twice. They save work; nothing is correct because
 * of one: a holder that was frozen may wake beside the next one.
 *
 *   locks/<name>.lock           the lock: a folder, refreshed by its time
 *   locks/<name>.lock.reclaim   held while a stale lock is moved away
 *
 * proper-lockfile with `stale: Infinity`, since its own take-over lets two in; a stale lock is one whose inode and
 * time do not change for `staleMs` of *our* monotonic clock, so that no two clocks are ever compared.
 * Source: decisions 0010 and 0017; moxystudio/node-proper-lockfile#121.
 */
export class VolumeLocks {
  readonly #volume: Volume;
  readonly #options: LockOptions;
  readonly #files: LockFiles;
  readonly #holdings = new Map<string, Holding>();
  readonly #sightings = new Map<string, Sighting>();

  constructor(volume: Volume, options: LockOptions) {
    this.#volume = volume;
    this.#options = options;
    this.#files = lockFilesOn(volume, {
      refreshed: (path) => this.#refreshed(path),
      ownInode: (path) => this.#holdings.get(path)?.inode,
    });
  }

  /** Runs `work` while holding the lock; `signal` tells it to stop because the lock is lost. */
  async withLock<T>(name: string, work: (signal: AbortSignal) => Promise<T>): Promise<T | 'held-elsewhere'> {
    const held = await this.holdLock(name);
    if (held === undefined) return 'held-elsewhere';
    try {
      return await work(held.signal);
    } finally {
      await held.release();
    }
  }

  /** Takes a lock; undefined where somebody else has it. It takes at least `staleMs` to see that its holder is dead. */
  async holdLock(name: string): Promise<HeldLock | undefined> {
    const path = this.#pathOf(name);
    return (await this.#acquire(path)) ?? ((await this.#reclaim(path)) ? this.#acquire(path) : undefined);
  }

  /** Tells whether somebody was seen refreshing the lock within `staleMs`; it takes two looks, one after the other. */
  async lockIsLive(name: string): Promise<boolean> {
    const sighting = await this.#see(this.#pathOf(name));
    return sighting?.refreshed === true && performance.now() - sighting.since < this.#options.staleMs;
  }

  #pathOf(name: string): string {
    return `${this.#volume.layout.lock(name)}.lock`;
  }

  async #acquire(path: string): Promise<HeldLock | undefined> {
    const lost = new AbortController();
    const onCompromised = (cause: Error): void => {
      lost.abort(
        new Fault('STORAGE_ERROR', `the lock ${path} was taken over or removed`, { cause, detail: { path } }),
      );
    };
    const { updateMs } = this.#options;
    const release = await lockfile
      .lock(path, {
        lockfilePath: path,
        realpath: false,
        stale: Infinity,
        update: updateMs,
        fs: this.#files,
        onCompromised,
      })
      .catch((error: unknown) => {
        if (error instanceof Error && 'code' in error && error.code === 'ELOCKED') return undefined;
        throw error;
      });
    if (release === undefined) return undefined;
    const mark = await lookAt(this.#volume, path);
    this.#holdings.set(path, { inode: mark?.inode ?? 0n, refreshedAt: performance.now() });
    const stopGuarding = this.#guardRefresh(path, lost);
    return {
      signal: lost.signal,
      release: async () => {
        stopGuarding();
        // ERELEASED: it was lost before, which the signal has told. A volume that refuses: what is left becomes stale,
        // and the work that was done under the lock is done.
        await release().catch(() => undefined);
        this.#holdings.delete(path);
      },
    };
  }

  /** The library tries to refresh for ever; we stop believing in the lock long before others may take it. */
  #guardRefresh(path: string, lost: AbortController): () => void {
    const timer = setInterval(() => {
      const silentMs = performance.now() - (this.#holdings.get(path)?.refreshedAt ?? 0);
      if (silentMs < this.#options.staleMs / 2) return;
      const message = `the lock ${path} could not be refreshed for ${Math.round(silentMs)} ms`;
      lost.abort(new Fault('STORAGE_TIMEOUT', message, { detail: { path } }));
    }, this.#options.updateMs);
    timer.unref();
    return () => clearInterval(timer);
  }

  #refreshed(path: string): void {
    const holding = this.#holdings.get(path);
    if (holding) holding.refreshedAt = performance.now();
  }

  /** Looks at a lock and compares with the last look. */
  async #see(path: string): Promise<Sighting | undefined> {
    const mark = await lookAt(this.#volume, path);
    const before = this.#sightings.get(path);
    if (mark === undefined) {
      this.#sightings.delete(path);
      return undefined;
    }
    const same = before !== undefined && isSame(before.mark, mark);
    const now: Sighting = same ? before : { mark, since: performance.now(), refreshed: before !== undefined };
    this.#sightings.set(path, now);
    return now;
  }

  #isStale(sighting: Sighting): boolean {
    return performance.now() - sighting.since >= this.#options.staleMs;
  }

  /** Moves a stale lock out of the way, one challenger at a time. */
  async #reclaim(path: string): Promise<boolean> {
    const stale = await this.#see(path);
    if (stale === undefined || !this.#isStale(stale)) return false;
    const guard = `${path}.reclaim`;
    if (!(await this.#volume.makeFolder(guard))) {
      // Left by a challenger that was killed: one round to move it away, the next one to take the lock.
      const left = await this.#see(guard);
      if (left && this.#isStale(left)) await this.#moveAway(guard);
      return false;
    }
    try {
      const mark = await lookAt(this.#volume, path);
      // Another challenger was here before the guard was ours, or the holder woke up.
      if (mark === undefined || !isSame(mark, stale.mark)) return false;
      await this.#moveAway(path);
      return true;
    } finally {
      await this.#volume.removeFolder(guard);
      this.#sightings.delete(guard);
    }
  }

  /** By a rename, which only one can win, and never by a bare rmdir, which could hit a fresh lock of the same name. */
  async #moveAway(path: string): Promise<void> {
    const dead = temporaryBeside(path);
    if (await this.#volume.rename(path, dead)) await this.#volume.removeFolder(dead);
    this.#sightings.delete(path);
  }
}

function isSame(left: LockMark, right: LockMark): boolean {
  return left.inode === right.inode && left.modifiedMs === right.modifiedMs;
}
