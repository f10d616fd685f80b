import { fstatSync, readlinkSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { monotonicMs } from './clock.ts';

/** Bytes that may wait for a slow reader before the script is made to wait. */
const CONGESTED_BYTES = 1024 * 1024;
const RETRY_MS = 100;
const NEWLINE = Buffer.from('\n');

/** Where the journal goes first: the runner's own stdout, which does not need the volume. */
export interface StdoutWitness {
  /** Takes a frame; a failure is kept and told by `end`. */
  write(frame: Buffer): void;
  /** So much waits for the reader that the script should. */
  readonly isCongested: boolean;
  /** Settles when it is not congested any more, or will take nothing any more. */
  drained(): Promise<void>;
  /** Writes the last frame behind all others; false where that could not be done within `deadlineMs`. */
  end(frame: Buffer, deadlineMs: number): Promise<boolean>;
  /** Path of the file that stdout is; null where it is none. */
  readonly path: string | null;
}

/** Opens the witness on a descriptor: a file on local disk under an agent, a pipe in a pod. */
export function openStdoutWitness(fd: number): StdoutWitness {
  const stats = fstatSync(fd);
  return stats.isFIFO() || stats.isSocket() ? new PipeWitness(fd) : new FileWitness(fd, stats.isFile());
}

/**
 * Writes to a file and waits for it. Not through libuv's pool: calls that hang on the volume may hold all of its
 * threads, and this file is on local disk.
 */
class FileWitness implements StdoutWitness {
  readonly path: string | null;
  readonly isCongested = false;
  readonly #fd: number;
  #isTorn = false;

  constructor(fd: number, isFile: boolean) {
    this.#fd = fd;
    const link = isFile ? readlinkSync(`/proc/self/fd/${fd}`) : '';
    this.path = link.startsWith('/') && !link.endsWith(' (deleted)') ? link : null;
  }

  write(frame: Buffer): void {
    this.#tryWrite(frame);
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  async end(frame: Buffer, deadlineMs: number): Promise<boolean> {
    for (const until = monotonicMs() + deadlineMs; !this.#tryWrite(frame); await delay(RETRY_MS)) {
      if (monotonicMs() >= until) return false;
    }
    return true;
  }

  #tryWrite(frame: Buffer): boolean {
    // A frame of which only a part was written must not run into the next one.
    const bytes = this.#isTorn ? Buffer.concat([NEWLINE, frame]) : frame;
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(this.#fd, bytes, written);
      this.#isTorn = false;
      return true;
    } catch {
      // The disk of the agent is full or broken: this frame has the volume's copy left, and the reader states a gap
      // where both fail. The script goes on.
      this.#isTorn ||= written > 0;
      return false;
    }
  }
}

/** Writes to a pipe without waiting, so that a slow reader stops neither signals nor deadlines. */
class PipeWitness implements StdoutWitness {
  readonly path = null;
  readonly #socket: Socket;
  #isBroken = false;
  #waiting = Promise.withResolvers<undefined>();

  constructor(fd: number) {
    this.#socket = new Socket({ fd, readable: false, writable: true });
    this.#socket.on('drain', () => this.#wake());
    this.#socket.on('error', () => {
      // EPIPE: nobody reads any more. The script goes on and the volume has the journal.
      this.#isBroken = true;
      this.#wake();
    });
  }

  get isCongested(): boolean {
    return !this.#isBroken && this.#socket.writableLength > CONGESTED_BYTES;
  }

  write(frame: Buffer): void {
    if (!this.#isBroken) this.#socket.write(frame);
  }

  drained(): Promise<void> {
    return this.isCongested ? this.#waiting.promise : Promise.resolve();
  }

  async end(frame: Buffer, deadlineMs: number): Promise<boolean> {
    if (this.#isBroken) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), deadlineMs);
    this.#socket.write(frame, (error) => resolve(!error));
    const written = await promise;
    clearTimeout(timer);
    return written;
  }

  #wake(): void {
    this.#waiting.resolve(undefined);
    this.#waiting = Promise.withResolvers();
  }
}
