import { createHash } from 'node:crypto';
import { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type { VolumeFile } from '../mount/volume-file.ts';
import { parseSha256, type Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import { BatchWriter } from './batch-writer.ts';
import { RateWatch, type RateWatchOptions } from './rate-watch.ts';
import type { Reservation } from './space.ts';
import type { UploadMemory } from './upload-memory.ts';

export interface UploadOptions extends RateWatchOptions {
  readonly maxBytes: number;
  readonly memory: UploadMemory;
  /** What the client announced. */
  readonly length?: number | undefined;
  readonly digest?: Sha256 | undefined;
  readonly reservation?: Reservation | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Takes the bytes of one body: hashes each chunk as it comes and hands it to a BatchWriter, never holding more than
 * a few batches.
 *
 *   source ─data─▶ hash ─▶ BatchWriter
 *      ▲                       │ it is full, or all uploads together hold too much
 *      └─────────pause─────────┘
 *
 * 'data' events and not `for await` or a pipeline: those cost more than hash and write together.
 */
export class UploadReceiver {
  readonly #source: Readable;
  readonly #options: UploadOptions;
  readonly #hash = createHash('sha256');
  readonly #outcome = Promise.withResolvers<{ digest: Sha256; size: number }>();
  /** What to undo when this is over, in whichever way. */
  readonly #cleanUp: (() => void)[] = [];
  #receivedBytes = 0;
  #ended = false;
  #over = false;
  #stopWaitingForRoom: (() => void) | undefined;

  /** Listens for the failure of `source` at once, for its data when `receiveInto` is called. */
  constructor(source: Readable, options: UploadOptions) {
    this.#source = source;
    this.#options = options;
    this.#outcome.promise.catch(() => undefined); // it may fail before anybody asks
    source.on('error', () => undefined); // one after the end of this must not end the process
    this.#listen('error', (error) => this.#fail(this.#incomplete('the connection failed', error)));
    this.#listen('close', () => {
      if (!this.#ended) this.#fail(this.#incomplete('the connection was closed'));
    });
    const { signal } = options;
    const abort = (): void => {
      const reason: unknown = signal?.reason;
      this.#fail(reason instanceof Fault ? reason : this.#incomplete('it was aborted', reason));
    };
    signal?.addEventListener('abort', abort);
    this.#cleanUp.push(() => signal?.removeEventListener('abort', abort));
    if (signal?.aborted === true) abort();
    else if (source.destroyed) this.#fail(this.#incomplete('the connection was closed'));
  }

  /**
   * Receives all into `file`, which is empty; returns when every byte is written, not yet synced.
   *
   * @throws {Fault} BODY_TOO_LARGE, UPLOAD_INCOMPLETE, UPLOAD_TOO_SLOW, DIGEST_MISMATCH and STORAGE_ codes; by then
   * no write is under way any more.
   */
  async receiveInto(file: VolumeFile): Promise<{ digest: Sha256; size: number }> {
    const { memory, reservation } = this.#options;
    const rate = new RateWatch(this.#options, (fault) => this.#fail(fault));
    const advance = (): void => this.#advance(writer, rate);
    const writer = new BatchWriter(file, {
      // Node makes a buffer of its own for each chunk of a body, and only we get it.
      ownsChunks: this.#source instanceof IncomingMessage,
      wrote: (bytes) => reservation?.wrote(bytes),
      released: (bytes) => memory.give(bytes),
      failed: (error) => this.#fail(error),
      changed: advance,
    });
    this.#cleanUp.push(
      () => rate.stop(),
      () => memory.give(writer.drop()),
    );
    if (!this.#over) {
      this.#listen('data', (chunk: Buffer) => {
        rate.received(chunk.length);
        if (this.#receive(chunk)) writer.add(chunk);
        advance();
      });
      this.#listen('end', () => this.#end(advance));
    }
    try {
      return await this.#outcome.promise;
    } finally {
      this.#stop();
      await writer.settled();
    }
  }

  /** Gives up before `receiveInto` was called. */
  abandon(): void {
    this.#stop();
  }

  /** Counts and hashes a chunk; false where the body is refused because of it. */
  #receive(chunk: Buffer): boolean {
    const { maxBytes, length, memory } = this.#options;
    const limit = Math.min(maxBytes, length ?? maxBytes);
    this.#receivedBytes += chunk.length;
    if (this.#receivedBytes > limit) {
      const message = `cannot take more than ${limit} bytes, which ${limit === length ? 'were announced' : 'is the limit'}`;
      this.#fail(new Fault('BODY_TOO_LARGE', message, { detail: { maxBytes, length: length ?? null } }));
      return false;
    }
    this.#hash.update(chunk);
    memory.take(chunk.length);
    return true;
  }

  #end(advance: () => void): void {
    this.#ended = true;
    const { length } = this.#options;
    if (length !== undefined && this.#receivedBytes < length) {
      this.#fail(this.#incomplete(`it ended, and ${length} bytes were announced`));
    }
    advance();
  }

  /** Writes what is due, ends when all is written, and lets the source go on or wait. */
  #advance(writer: BatchWriter, rate: RateWatch): void {
    if (this.#over) return;
    const { memory } = this.#options;
    // Memory is full of other uploads: write what there is, so that this one also moves.
    writer.advance(this.#ended || (memory.isFull && !writer.isBusy));
    if (this.#ended) {
      rate.stop();
      if (writer.isDone) this.#finish();
    } else if (writer.isFull || memory.isFull) {
      rate.pause();
      this.#source.pause();
      if (memory.isFull) this.#advanceWhenRoom(() => this.#advance(writer, rate));
    } else {
      rate.resume();
      this.#source.resume();
    }
  }

  #advanceWhenRoom(advance: () => void): void {
    this.#stopWaitingForRoom ??= this.#options.memory.whenRoom(() => {
      this.#stopWaitingForRoom = undefined;
      advance();
    });
  }

  #finish(): void {
    const digest = parseSha256(this.#hash.digest('hex'));
    const expected = this.#options.digest;
    if (digest === undefined) throw new TypeError('a hash that is not hex');
    if (expected !== undefined && expected !== digest) {
      const message = `the ${this.#receivedBytes} bytes that arrived have sha256 ${digest}, and ${expected} was announced`;
      this.#fail(new Fault('DIGEST_MISMATCH', message, { detail: { arrived: digest, announced: expected } }));
      return;
    }
    this.#over = true;
    this.#outcome.resolve({ digest, size: this.#receivedBytes });
  }

  #fail(error: unknown): void {
    if (this.#over) return;
    this.#stop();
    this.#outcome.reject(error);
  }

  #stop(): void {
    this.#over = true;
    for (const undo of this.#cleanUp.splice(0)) undo();
    this.#stopWaitingForRoom?.();
    this.#source.pause();
  }

  #listen<T>(event: string, listener: (value: T) => void): void {
    this.#source.on(event, listener);
    this.#cleanUp.push(() => void this.#source.off(event, listener));
  }

  #incomplete(what: string, cause?: unknown): Fault {
    const receivedBytes = this.#receivedBytes;
    return new Fault('UPLOAD_INCOMPLETE', `the body is not whole: after ${receivedBytes} bytes ${what}`, {
      cause,
      detail: { receivedBytes },
    });
  }
}
