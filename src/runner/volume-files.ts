import { randomBytes } from 'node:crypto';
import { close, constants, fsync, link, mkdir, open, read, readdir, rename, statfs, unlink } from 'node:fs';
import { writev, type Dirent } from 'node:fs';
import { Fault } from '../protocol/fault.ts';
import { isTaken, storageFault } from './storage-fault.ts';

// O_NONBLOCK: a script may have put a FIFO where a file was, and opening one waits for its other end.
const { O_RDONLY, O_WRONLY, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
const READ = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
const WRITE = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK;

/** A file that is written in parts is made durable in between, so that no single fsync has much to do. */
const SYNC_BYTES = 32 * 1024 * 1024;

/** Calls of a process on the volume; see VolumeFiles. */
interface Calls {
  inside: number;
  overdue: number;
}

/** How node:fs tells the end of a call; `value` is there unless there is an error or nothing to tell. */
type Done<T> = (error: Error | null, value?: T) => void;

/**
 * The runner's calls on the volume, each with a deadline.
 *
 * A call on a hung mount cannot be cancelled: at its deadline the caller gets STORAGE_TIMEOUT and the call keeps its
 * thread. While there are such calls, only SIGKILL ends this process in time, since exit(3) waits for them.
 * Every rejection is a Fault with a STORAGE_ code. No file stays open for writing between two calls.
 *
 * With callbacks and not with fs.promises, which is loaded on first use and costs a start 1.5 ms.
 */
export class VolumeFiles {
  readonly #deadlineMs: number;
  readonly #calls: Calls;

  constructor({ deadlineMs, calls }: { deadlineMs: number; calls?: Calls }) {
    this.#deadlineMs = deadlineMs;
    this.#calls = calls ?? { inside: 0, overdue: 0 };
  }

  /** Calls that are in the kernel. */
  get inside(): number {
    return this.#calls.inside;
  }

  /** Those of them that are past their deadline. */
  get overdue(): number {
    return this.#calls.overdue;
  }

  /** The same calls with another deadline, counted together with these. */
  withDeadline(deadlineMs: number): VolumeFiles {
    return new VolumeFiles({ deadlineMs, calls: this.#calls });
  }

  /** Reads a file through `buffer` from its start; `take` gets each part, and false from it ends the reading. */
  async readThrough(
    path: string,
    buffer: Buffer,
    take: (part: Buffer) => boolean | Promise<boolean>,
  ): Promise<void> {
    await this.#withOpen(path, READ, async (fd) => {
      const begin = (done: Done<number>): void => read(fd, buffer, 0, buffer.length, null, done);
      for (let more = true; more;) {
        const bytes = await this.#within('read', path, begin);
        more = bytes > 0 && (await take(buffer.subarray(0, bytes)));
      }
    });
  }

  /**
   * Reads a small file whole; the caller compares it with what it should be. A read that brings less than was asked
   * for counts as the end.
   *
   * @throws {RangeError} beyond `maxBytes`.
   */
  async readAll(path: string, maxBytes: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    let total = 0;
    const buffer = Buffer.allocUnsafe(Math.min(maxBytes + 1, 64 * 1024));
    await this.readThrough(path, buffer, (part) => {
      parts.push(Buffer.from(part));
      total += part.length;
      return total <= maxBytes && part.length === buffer.length;
    });
    if (total > maxBytes) throw new RangeError(`${path} has more than ${maxBytes} bytes`);
    return Buffer.concat(parts);
  }

  list(folder: string): Promise<Dirent[]> {
    return this.#within('readdir', folder, (done: Done<Dirent[]>) => {
      readdir(folder, { withFileTypes: true }, done);
    });
  }

  /**
   * Writes all of `buffers`, at most 1024, at `position` and closes the file, made if it is not there. On NFS, close
   * sends them off.
   */
  async writeAt(path: string, buffers: readonly Buffer[], position: number): Promise<void> {
    await this.#withOpen(path, WRITE, (fd) => this.#writeAll(fd, buffers, { path, position }));
  }

  /** Makes a new file durable, closed on return. The name must be free. */
  async createDurable(path: string, bytes: Buffer): Promise<void> {
    await this.#withOpen(path, 'wx', async (fd) => {
      await this.#writeAll(fd, [bytes], { path, position: 0 });
      await this.#within('fsync', path, (done: Done<undefined>) => fsync(fd, done));
    });
  }

  /** The same for a file that comes in parts, each used up before the next one is asked for. */
  async createDurableFrom(path: string, parts: AsyncIterable<Buffer>): Promise<void> {
    const flush = (fd: number): Promise<undefined> =>
      this.#within('fsync', path, (done: Done<undefined>) => fsync(fd, done));
    await this.#withOpen(path, 'wx', async (fd) => {
      let position = 0;
      let synced = 0;
      for await (const part of parts) {
        await this.#writeAll(fd, [part], { path, position });
        position += part.length;
        if (position - synced < SYNC_BYTES) continue;
        await flush(fd);
        synced = position;
      }
      await flush(fd);
    });
  }

  /** Makes a folder, or finds that the name is taken. */
  async makeFolder(path: string): Promise<void> {
    try {
      await this.#within('mkdir', path, (done) => mkdir(path, done));
    } catch (error) {
      if (!isTaken(error)) throw error;
    }
  }

  /** Asks the file system of a path itself, which no client of a network file system answers from a cache. */
  async askFileSystem(path: string): Promise<void> {
    await this.#within('statfs', path, (done: Done<unknown>) => statfs(path, done));
  }

  /** Makes a file, or the entries of a folder, durable. */
  async sync(path: string): Promise<void> {
    await this.#withOpen(path, READ, (fd) =>
      this.#within('fsync', path, (done: Done<undefined>) => fsync(fd, done)),
    );
  }

  link(from: string, to: string): Promise<undefined> {
    return this.#within('link', to, (done) => link(from, to, done));
  }

  rename(from: string, to: string): Promise<undefined> {
    return this.#within('rename', from, (done) => rename(from, to, done));
  }

  remove(path: string): Promise<undefined> {
    return this.#within('unlink', path, (done) => unlink(path, done));
  }

  async #writeAll(
    fd: number,
    buffers: readonly Buffer[],
    { path, position }: { path: string; position: number },
  ): Promise<void> {
    let at = position;
    for (let rest = buffers; rest.length > 0;) {
      const batch = rest;
      const place = at;
      const begin = (done: Done<number>): void => writev(fd, batch, place, done);
      const written = await this.#within('write', path, begin);
      rest = dropBytes(batch, written);
      at += written;
    }
  }

  async #withOpen<T>(path: string, flags: number | 'wx', work: (fd: number) => Promise<T>): Promise<T> {
    const fd = await this.#within('open', path, (done: Done<number>) => open(path, flags, 0o644, done));
    const shut = (): Promise<undefined> => this.#within('close', path, (done) => close(fd, done));
    let result: T;
    try {
      result = await work(fd);
    } catch (error) {
      // The first error is the one to tell; closing only gives the descriptor back. Nor is a second deadline waited
      // for: a descriptor on a hung mount is left to the end of the process.
      if (this.#calls.overdue === 0) await shut().catch(() => undefined);
      throw error;
    }
    // EIO and ENOSPC of earlier writes may come only now.
    await shut();
    return result;
  }

  #within<T = undefined>(operation: string, path: string, begin: (done: Done<T>) => void): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#calls.overdue += 1;
      const message = `${operation} ${path} did not return within ${this.#deadlineMs} ms`;
      reject(new Fault('STORAGE_TIMEOUT', message));
    }, this.#deadlineMs);
    this.#calls.inside += 1;
    begin((error, value) => {
      clearTimeout(timer);
      this.#calls.inside -= 1;
      if (late) this.#calls.overdue -= 1;
      if (error) reject(storageFault(operation, path, error));
      // Without an error it is what the call returns, which is nothing where T is undefined.
      else resolve(value as T);
    });
    return promise;
  }
}

function dropBytes(buffers: readonly Buffer[], count: number): Buffer[] {
  let left = count;
  return buffers.flatMap((buffer) => {
    const skipped = Math.min(left, buffer.length);
    left -= skipped;
    return skipped === buffer.length ? [] : [buffer.subarray(skipped)];
  });
}

/** A name beside `target` that nobody else has; a sweeper knows it by its form. */
export function temporaryBeside(target: string): string {
  return `${target}.tmp-${randomBytes(8).toString('hex')}`;
}
