import type { promises as fs } from 'node:fs';
import type { Gate } from './gate.ts';

export interface VolumeFileOptions {
  readonly gate: Gate;
  readonly handle: fs.FileHandle;
  readonly path: string;
  readonly slowDeadlineMs: number;
}

/**
 * An open file of the volume. Every call passes the gate.
 *
 * No file stays open for writing between two steps of a task: a child that is spawned while one with unflushed
 * writes is open waits for the server (measured: 100 s), and the event loop with it.
 */
export class VolumeFile {
  readonly path: string;
  readonly #gate: Gate;
  readonly #handle: fs.FileHandle;
  readonly #slowDeadlineMs: number;

  constructor(options: VolumeFileOptions) {
    this.path = options.path;
    this.#gate = options.gate;
    this.#handle = options.handle;
    this.#slowDeadlineMs = options.slowDeadlineMs;
  }

  /** Size in bytes, whether it is a plain file, and when it was modified; from fstat, which on NFS may be cached. */
  async stat(): Promise<{ size: number; isFile: boolean; modifiedMs: number }> {
    const stats = await this.#gate.run('fstat', this.path, () => this.#handle.stat());
    return { size: stats.size, isFile: stats.isFile(), modifiedMs: stats.mtimeMs };
  }

  /** Reads at most `length` bytes at `position`; fewer at the end of the file. */
  async readAt(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    const { bytesRead } = await this.#gate.run('read', this.path, () => this.#handle.read(buffer, 0, length, position));
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
    let rest: readonly Buffer[] = buffers;
    for (let at = position; rest.length > 0; ) {
      const batch = rest;
      const { bytesWritten } = await this.#gate.run('write', this.path, () => this.#handle.writev(batch, at));
      at += bytesWritten;
      rest = dropBytes(rest, bytesWritten);
    }
  }

  /** Makes the bytes durable. After an error they may be lost although a second call succeeds: write them anew. */
  async sync(): Promise<void> {
    await this.#gate.run('fsync', this.path, () => this.#handle.sync(), this.#slowDeadlineMs);
  }

  /** Closes the file. On NFS the errors of earlier writes may come only now: never ignore this one after a write. */
  async close(): Promise<void> {
    await this.#gate.run('close', this.path, () => this.#handle.close(), this.#slowDeadlineMs);
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
