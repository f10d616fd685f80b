import type { promises as fs } from 'node:fs';
import { Fault } from '../protocol/fault.ts';
import type { Passage, PassOptions } from './gate.ts';

export interface VolumeFileOptions {
  readonly gate: Passage;
  readonly handle: fs.FileHandle;
  readonly path: string;
  readonly slowDeadlineMs: number;
}

/** What fstat(2) says; on NFS it may be some seconds old. */
export interface FileFacts {
  readonly size: number;
  readonly isFile: boolean;
  readonly modifiedMs: number;
  readonly inode: bigint;
}

/**
 * An open file of the volume. Every call passes the gate.
 *
 * No file stays open for writing between two steps of a task: a child that is spawned while one with unflushed
 * writes is open waits for the server (measured: 100 s), and the event loop with it.
 */
export class VolumeFile {
  readonly path: string;
  readonly #gate: Passage;
  readonly #handle: fs.FileHandle;
  readonly #slowDeadlineMs: number;
  /** Calls that the kernel has not let go, also those whose callers were told of a timeout. */
  readonly #inKernel = new Set<Promise<unknown>>();

  constructor(options: VolumeFileOptions) {
    this.path = options.path;
    this.#gate = options.gate;
    this.#handle = options.handle;
    this.#slowDeadlineMs = options.slowDeadlineMs;
  }

  async stat(): Promise<FileFacts> {
    return factsOf(await this.#pass('fstat', () => this.#handle.stat({ bigint: true })));
  }

  /** Reads at most `length` bytes at `position`; fewer at the end of the file. */
  async readAt(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    const { bytesRead } = await this.#pass('read', () => this.#handle.read(buffer, 0, length, position));
    return buffer.subarray(0, bytesRead);
  }

  /** Reads the whole file. @throws {RangeError} when it has more than `maxBytes`. */
  async readAll(maxBytes: number): Promise<Buffer> {
    const { size } = await this.stat();
    const chunks: Buffer[] = [];
    let total = 0;
    // Read to the end and one byte beyond what fstat said: its size may be an old one.
    for (let want = Math.max(size + 1, 4096); ; want = 64 * 1024) {
      const chunk = await this.readAt(total, Math.min(want, maxBytes + 1 - total));
      if (chunk.length === 0) return Buffer.concat(chunks);
      chunks.push(chunk);
      total += chunk.length;
      if (total > maxBytes) throw new RangeError(`${this.path} has more than ${maxBytes} bytes`);
    }
  }

  /** Writes all of `buffers` at `position`, in as many calls as the kernel needs. */
  async write(buffers: readonly Buffer[], position: number): Promise<void> {
    let rest: readonly Buffer[] = dropBytes(buffers, 0);
    for (let at = position; rest.length > 0;) {
      const batch = rest;
      const { bytesWritten } = await this.#pass('write', () => this.#handle.writev(batch, at));
      if (bytesWritten === 0) throw new Fault('STORAGE_ERROR', `the volume takes no bytes for ${this.path}`);
      at += bytesWritten;
      rest = dropBytes(rest, bytesWritten);
    }
  }

  async changeMode(mode: number): Promise<void> {
    await this.#pass('fchmod', () => this.#handle.chmod(mode));
  }

  /** Makes the bytes durable. After an error they may be lost although a second call succeeds: write them anew. */
  async sync(): Promise<void> {
    await this.#pass('fsync', () => this.#handle.sync(), { deadlineMs: this.#slowDeadlineMs });
  }

  /**
   * Closes the file. On NFS the errors of earlier writes may come only now: never ignore this one after a write.
   *
   * While a call on it hangs in the kernel, the descriptor must stay: its number could become another file's. Then
   * this returns at once, and the file is closed when the call returns.
   */
  async close(): Promise<void> {
    const close = () => this.#handle.close();
    if (this.#inKernel.size === 0) {
      const deadlineMs = this.#slowDeadlineMs;
      await this.#gate.run('close', this.path, close, { deadlineMs, closing: true });
      return;
    }
    // The caller has the error of the call that hangs; whatever this close would say, it comes too late for anybody.
    void Promise.allSettled(this.#inKernel)
      .then(close)
      .catch(() => undefined);
  }

  async #pass<T>(operation: string, work: () => Promise<T>, options: PassOptions<T> = {}): Promise<T> {
    const tracked = (): Promise<T> => {
      const call = work();
      this.#inKernel.add(call);
      return call.finally(() => this.#inKernel.delete(call));
    };
    return this.#gate.run(operation, this.path, tracked, options);
  }
}

/** Reads the facts of one fstat call. */
export function factsOf(stats: { size: bigint; mtimeNs: bigint; ino: bigint; isFile(): boolean }): FileFacts {
  return {
    size: Number(stats.size),
    isFile: stats.isFile(),
    modifiedMs: Number(stats.mtimeNs) / 1e6,
    inode: stats.ino,
  };
}

function dropBytes(buffers: readonly Buffer[], count: number): Buffer[] {
  let left = count;
  return buffers.flatMap((buffer) => {
    const skipped = Math.min(left, buffer.length);
    left -= skipped;
    return skipped === buffer.length ? [] : [buffer.subarray(skipped)];
  });
}
