import { setTimeout as delay } from 'node:timers/promises';
import { monotonicMs } from './clock.ts';
import type { VolumeFiles } from './volume-files.ts';

const MAX_QUEUE_BYTES = 8 * 1024 * 1024;
/** With so much in the queue, who writes faster than the volume takes should wait. */
const CONGESTED_BYTES = MAX_QUEUE_BYTES / 2;
/** A volume that took nothing for so long is not waited for. */
const PATIENCE_MS = 5000;
const CONGESTION_POLL_MS = 20;
/** IOV_MAX of Linux: so many buffers one writev(2) takes. */
const MAX_BATCH_FRAMES = 1024;
/** Between two batches: each costs a network file system several round trips. */
const PAUSE_MS = 100;
/** With so much in the queue there is no pause. */
const HURRY_BYTES = 1024 * 1024;
const RETRY_MS = 500;

/**
 * The second witness: the journal as a file of the volume, immune to the rotation of container logs.
 *
 * A volume that hangs never makes the script wait. Frames queue up to 8 MiB; what finds no room there is dropped and
 * counted, since the first witness has it. Where that one forgets, as the log of a pod does, `isCongested` tells when
 * the script should wait for a volume that is only slow. A batch that fails is written again at the same place, so that a volume that was full or
 * away for a while ends up with a whole file. At an offset there are never other bytes than these, so a call that
 * returns after its deadline does no harm.
 */
export class VolumeJournal {
  readonly #files: VolumeFiles;
  readonly #path: string;
  readonly #patienceMs: number;
  readonly #failed: () => void;
  readonly #queue: Buffer[] = [];
  #queuedBytes = 0;
  #position = 0;
  #written = 0;
  #dropped = 0;
  /** When the volume took something, or was first asked to. */
  #progressAt = 0;
  #pump: Promise<void> | undefined;
  #isEnding = false;
  #wake = (): void => undefined;
  /** It pauses after a success; a volume that failed is not asked more often for being behind. */
  #canHurry = false;

  /** `failed` is called when the volume did not take something, for whatever reason. */
  constructor(files: VolumeFiles, path: string, options: { patienceMs?: number; failed?: () => void } = {}) {
    this.#files = files;
    this.#path = path;
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.#failed = options.failed ?? (() => undefined);
  }

  /** Much waits for a volume that goes on taking it. */
  get isCongested(): boolean {
    const isSlow = this.#queuedBytes > CONGESTED_BYTES && !this.#isEnding;
    return isSlow && monotonicMs() - this.#progressAt < this.#patienceMs;
  }

  /** Settles when it is not congested any more, at the latest when the volume has taken nothing for a while. */
  async drained(): Promise<void> {
    while (this.isCongested) await delay(CONGESTION_POLL_MS);
  }

  append(frame: Buffer): void {
    if (this.#queuedBytes + frame.length > MAX_QUEUE_BYTES) {
      this.#dropped += 1;
      return;
    }
    if (this.#queue.length === 0) this.#progressAt = monotonicMs();
    this.#queue.push(frame);
    this.#queuedBytes += frame.length;
    if (this.#canHurry && this.#queuedBytes > HURRY_BYTES) this.#wake();
    this.#pump ??= this.#drain().finally(() => (this.#pump = undefined));
  }

  /** Writes what is queued, makes all durable, and returns how many frames the file does not have. Takes no more. */
  async settle(): Promise<number> {
    this.#isEnding = true;
    this.#wake();
    await this.#pump;
    const missing = this.#dropped + this.#queue.length;
    if (this.#written === 0) return missing;
    // Where a call hangs, another one would only wait for its deadline.
    if (this.#files.overdue > 0) return missing + this.#written;
    try {
      await this.#files.sync(this.#path);
      return missing;
    } catch {
      // What was written may still be lost: none of it counts as being there.
      return missing + this.#written;
    }
  }

  /** Takes no more, asks nothing of a volume that is lost, and returns how many frames may be there no more: all. */
  abandon(): number {
    this.#isEnding = true;
    this.#wake();
    return this.#dropped + this.#queue.length + this.#written;
  }

  /** Writes the last frame behind all others, after `settle`. @throws {Fault} STORAGE_ codes. */
  async end(frame: Buffer): Promise<void> {
    await this.#files.writeAt(this.#path, [frame], this.#position);
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const isWritten = await this.#writeBatch();
      // What fails now stays in the queue, and is counted there.
      if (this.#isEnding && !isWritten) return;
      if (!isWritten) await this.#sleep(RETRY_MS);
      else if (this.#queuedBytes < HURRY_BYTES) await this.#sleep(PAUSE_MS);
    }
  }

  /** Writes all that has gathered: where the volume is slow, fewer and larger writes catch up. */
  async #writeBatch(): Promise<boolean> {
    // While a call hangs, another one would only take another thread.
    if (this.#files.overdue > 0) return false;
    const batch = this.#queue.slice(0, MAX_BATCH_FRAMES);
    try {
      await this.#files.writeAt(this.#path, batch, this.#position);
    } catch {
      // Full, read-only, away or hung: the same bytes are tried again at the same place.
      this.#failed();
      return false;
    }
    const bytes = batch.reduce((sum, frame) => sum + frame.length, 0);
    this.#queue.splice(0, batch.length);
    this.#queuedBytes -= bytes;
    this.#position += bytes;
    this.#written += batch.length;
    this.#progressAt = monotonicMs();
    return true;
  }

  async #sleep(ms: number): Promise<void> {
    if (this.#isEnding) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => resolve(undefined), ms);
    this.#wake = () => resolve(undefined);
    this.#canHurry = ms === PAUSE_MS;
    await promise;
    this.#canHurry = false;
    clearTimeout(timer);
  }
}
