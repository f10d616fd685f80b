import { randomBytes } from 'node:crypto';
import fs, { type Dirent } from 'node:fs';
import { promisify } from 'node:util';
import { Fault } from '../protocol/fault.ts';
import { storageFault } from './storage-fault.ts';

// Callbacks and not fs.promises: that one is loaded on first use, which costs a start 1.5 ms.
const call = {
  open: promisify(fs.open),
  fsync: promisify(fs.fsync),
  close: promisify(fs.close),
  link: promisify(fs.link),
  rename: promisify(fs.rename),
  unlink: promisify(fs.unlink),
  readdir: promisify<string, { withFileTypes: true }, Dirent[]>(fs.readdir),
};

// O_NONBLOCK: a script may have put a FIFO where a file was, and opening one waits for its other end.
const { O_RDONLY, O_WRONLY, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
const READ = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
const WRITE = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK;

function readSome(fd: number, into: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.read(fd, into, 0, into.length, null, (error, count) => (error ? reject(error) : resolve(count)));
  });
}

function writeSome(fd: number, bytes: Buffer, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(fd, bytes, 0, bytes.length, position, (error, count) =>
      error ? reject(error) : resolve(count),
    );
  });
}

/**
 * The runner's calls on the volume, each with a deadline.
 *
 * A call on a hung mount cannot be cancelled: at its deadline the caller gets STORAGE_TIMEOUT and the call keeps its
 * thread. While there are such calls, only SIGKILL ends this process in time, since exit(3) waits for them.
 * Every rejection is a Fault with a STORAGE_ code. No file stays open for writing between two calls.
 */
export class VolumeFiles {
  readonly #deadlineMs: number;
  #inside = 0;
  #overdue = 0;

  constructor({ deadlineMs }: { deadlineMs: number }) {
    this.#deadlineMs = deadlineMs;
  }

  /** Calls that are in the kernel. */
  get inside(): number {
    return this.#inside;
  }

  /** Those of them that are past their deadline. */
  get overdue(): number {
    return this.#overdue;
  }

  /** Reads a file through `buffer` from its start; `take` gets each part, and false from it ends the reading. */
  async readThrough(path: string, buffer: Buffer, take: (part: Buffer) => boolean): Promise<void> {
    await this.#withOpen(path, READ, async (fd) => {
      const read = (): Promise<number> => readSome(fd, buffer);
      for (let more = true; more;) {
        const bytes = await this.#within('read', path, read);
        more = bytes > 0 && take(buffer.subarray(0, bytes));
      }
    });
  }

  /** Reads a file whole. @throws {RangeError} beyond `maxBytes`. */
  async readAll(path: string, maxBytes: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    let total = 0;
    await this.readThrough(path, Buffer.allocUnsafe(64 * 1024), (part) => {
      parts.push(Buffer.from(part));
      total += part.length;
      return total <= maxBytes;
    });
    if (total > maxBytes) throw new RangeError(`${path} has more than ${maxBytes} bytes`);
    return Buffer.concat(parts);
  }

  list(folder: string): Promise<Dirent[]> {
    return this.#within('readdir', folder, () => call.readdir(folder, { withFileTypes: true }));
  }

  /** Writes all of `bytes` at `position` and closes the file, made if it is not there. On NFS, close sends them off. */
  async writeAt(path: string, bytes: Buffer, position: number): Promise<void> {
    await this.#withOpen(path, WRITE, (fd) => this.#writeAll(fd, bytes, { path, position }));
  }

  /** Makes a new file durable, closed on return. The name must be free. */
  async createDurable(path: string, bytes: Buffer): Promise<void> {
    await this.#withOpen(path, 'wx', async (fd) => {
      await this.#writeAll(fd, bytes, { path, position: 0 });
      await this.#within('fsync', path, () => call.fsync(fd));
    });
  }

  /** Makes a file, or the entries of a folder, durable. */
  async sync(path: string): Promise<void> {
    await this.#withOpen(path, READ, (fd) => this.#within('fsync', path, () => call.fsync(fd)));
  }

  link(from: string, to: string): Promise<void> {
    return this.#within('link', to, () => call.link(from, to));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#within('rename', from, () => call.rename(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#within('unlink', path, () => call.unlink(path));
  }

  async #writeAll(fd: number, bytes: Buffer, at: { path: string; position: number }): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const from = done;
      const write = (): Promise<number> => writeSome(fd, bytes.subarray(from), at.position + from);
      done += await this.#within('write', at.path, write);
    }
  }

  async #withOpen<T>(path: string, flags: number | 'wx', work: (fd: number) => Promise<T>): Promise<T> {
    const fd = await this.#within('open', path, () => call.open(path, flags, 0o644));
    let result: T;
    try {
      result = await work(fd);
    } catch (error) {
      // The first error is the one to tell; closing only gives the descriptor back. Nor is a second deadline waited
      // for: a descriptor on a hung mount is left to the end of the process.
      if (this.#overdue === 0) await this.#close(fd, path).catch(() => undefined);
      throw error;
    }
    // EIO and ENOSPC of earlier writes may come only now.
    await this.#close(fd, path);
    return result;
  }

  #close(fd: number, path: string): Promise<void> {
    return this.#within('close', path, () => call.close(fd));
  }

  #within<T>(operation: string, path: string, work: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#overdue += 1;
      reject(
        new Fault('STORAGE_TIMEOUT', `${operation} ${path} did not return within ${this.#deadlineMs} ms`),
      );
    }, this.#deadlineMs);
    this.#inside += 1;
    const returned = (): void => {
      clearTimeout(timer);
      this.#inside -= 1;
      if (late) this.#overdue -= 1;
    };
    work().then(
      (value) => (returned(), resolve(value)),
      (error: unknown) => (returned(), reject(storageFault(operation, path, error))),
    );
    return promise;
  }
}

/** A name beside `target` that nobody else has; a sweeper knows it by its form. */
export function temporaryBeside(target: string): string {
  return `${target}.tmp-${randomBytes(8).toString('hex')}`;
}
