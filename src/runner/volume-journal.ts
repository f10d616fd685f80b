import type { VolumeFiles } from './volume-files.ts';

const MAX_QUEUE_BYTES = 8 * 1024 * 1024;
/** IOV_MAX of Linux: so many buffers one writev(2) takes. */
const MAX_BATCH_FRAMES = 1024;
const RETRY_MS = 500;

/**
 * The second witness: the journal as a file of the volume, immune to the rotation of container logs.
 *
 * It never makes the script wait. Frames queue up to 8 MiB; what finds no room there is dropped and counted, since
 * the first witness has it. A batch that fails is written again at the same place, so that a volume that was full or
 * away for a while ends up with a whole file. At an offset there are never other bytes than these, so a call that
 * returns after its deadline does no harm.
 */
export class VolumeJournal {
  readonly #files: VolumeFiles;
  readonly #path: string;
  readonly #queue: Buffer[] = [];
  #queuedBytes = 0;
  #position = 0;
  #written = 0;
  #dropped = 0;
  #pump: Promise<void> | undefined;
  readonly #ending = Promise.withResolvers<'ending'>();

  constructor(files: VolumeFiles, path: string) {
    this.#files = files;
    this.#path = path;
  }

  append(frame: Buffer): void {
    if (this.#queuedBytes + frame.length > MAX_QUEUE_BYTES) {
      this.#dropped += 1;
      return;
    }
    this.#queue.push(frame);
    this.#queuedBytes += frame.length;
    this.#pump ??= this.#drain().finally(() => (this.#pump = undefined));
  }

  /** Writes what is queued, makes all durable, and returns how many frames the file does not have. Takes no more. */
  async settle(): Promise<number> {
    this.#ending.resolve('ending');
    await this.#pump;
    const missing = this.#dropped + this.#queue.length;
    if (this.#written === 0) return missing;
    try {
      await this.#files.sync(this.#path);
      return missing;
    } catch {
      // What was written may still be lost: none of it counts as being there.
      return missing + this.#written;
    }
  }

  /** Writes the last frame behind all others, after `settle`. @throws {Fault} STORAGE_ codes. */
  async end(frame: Buffer): Promise<void> {
    await this.#files.writeAt(this.#path, [frame], this.#position);
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      // All that has gathered: where the volume is slow, fewer and larger writes catch up.
      const batch = this.#queue.slice(0, MAX_BATCH_FRAMES);
      try {
        await this.#files.writeAt(this.#path, batch, this.#position);
      } catch {
        // Full, read-only, away or hung: the frames stay in the queue. At the end, what stays there is counted.
        if (await this.#isOver()) return;
        continue;
      }
      this.#queue.splice(0, batch.length);
      const bytes = batch.reduce((sum, frame) => sum + frame.length, 0);
      this.#queuedBytes -= bytes;
      this.#position += bytes;
      this.#written += batch.length;
    }
  }

  /** Waits before the next try, and until no call hangs any more: each would take another thread. */
  async #isOver(): Promise<boolean> {
    for (;;) {
      const pause = Promise.withResolvers<'pause'>();
      const timer = setTimeout(() => pause.resolve('pause'), RETRY_MS);
      const first = await Promise.race([this.#ending.promise, pause.promise]);
      clearTimeout(timer);
      if (first === 'ending') return true;
      if (this.#files.overdue === 0) return false;
    }
  }
}
