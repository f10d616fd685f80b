import { Socket } from 'node:net';

const BUFFER_BYTES = 64 * 1024;
/** A read that brought less than this is followed by a pause, so that more can gather. */
const SMALL_BYTES = 16 * 1024;
const PAUSE_MS = 1;
/** After so much without a pause, others get their turn: signals, deadlines, the other stream, the volume. */
const TURN_BYTES = 256 * 1024;

/**
 * Reads a pipe as its bytes come, and only as fast as they are taken.
 *
 * A script that writes line by line would wake a reader 250,000 times a second; with a pause of a millisecond after
 * each small read, hundreds of lines come together and a pipe of 64 KiB still passes 60 MiB/s.
 */
export class PipeReader {
  /** Settles when all writers have closed the pipe and all is read, or when `close` was called. */
  readonly ended: Promise<void>;
  readonly #socket: Socket;
  #pause: NodeJS.Timeout | NodeJS.Immediate | undefined;
  #turnBytes = 0;
  #held = false;

  /** `take` gets the bytes in one buffer that is used again: they are valid until it returns. */
  constructor(fd: number, take: (bytes: Buffer) => void) {
    const callback = (count: number, buffer: Uint8Array): boolean => {
      take(Buffer.from(buffer.buffer, buffer.byteOffset, count));
      this.#turnBytes += count;
      if (this.#held) return false;
      if (count < SMALL_BYTES) this.#pause = setTimeout(() => this.#goOn(), PAUSE_MS);
      else if (this.#turnBytes >= TURN_BYTES) this.#pause = setImmediate(() => this.#goOn());
      return this.#pause === undefined;
    };
    const onread = { buffer: Buffer.allocUnsafeSlow(BUFFER_BYTES), callback };
    this.#socket = new Socket({ fd, readable: true, writable: false, onread });
    this.ended = new Promise((resolve) => {
      this.#socket.once('end', resolve).once('close', () => resolve());
      // Reading a pipe does not fail; if it does, nothing more comes, which is what is waited for.
      this.#socket.on('error', () => resolve());
    });
    this.#socket.resume();
  }

  /** Stops reading, so that the script waits; until `release`. */
  hold(): void {
    this.#held = true;
    this.#endPause();
    this.#socket.pause();
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#socket.resume();
  }

  /** Reads no more, whoever still writes. */
  close(): void {
    this.#endPause();
    this.#socket.destroy();
  }

  #endPause(): void {
    // Each of the two takes only its own.
    clearTimeout(this.#pause as NodeJS.Timeout);
    clearImmediate(this.#pause as NodeJS.Immediate);
    this.#pause = undefined;
  }

  #goOn(): void {
    this.#pause = undefined;
    this.#turnBytes = 0;
    if (!this.#held) this.#socket.resume();
  }
}
