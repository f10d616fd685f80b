import { Fault } from '../protocol/fault.ts';
import type { Volume } from '../mount/volume.ts';

export interface SpaceOptions {
  /** Bytes of the volume that nothing may be admitted into: running scripts need them. */
  readonly reserveBytes: number;
  /** Uploads under way at once. */
  readonly maxUploads: number;
  /** What is set aside for an upload that does not tell its length. */
  readonly unknownLengthBytes: number;
}

/** A right to write some bytes. Released in every case, or the space stays set aside until the agent ends. */
export interface Reservation {
  /** Tells that bytes were written: from now on the file system counts them itself. */
  wrote(bytes: number): void;
  release(): void;
}

/**
 * Decides before a body is taken whether there is room for it.
 *
 * Free space is what statfs tells, less what was admitted and is not written yet, less the reserve. Other agents on
 * the volume are not seen: ENOSPC while writing is still an answer, only a late one.
 */
export class Space {
  readonly #volume: Volume;
  readonly #options: SpaceOptions;
  #reservedBytes = 0;
  #uploads = 0;

  constructor(volume: Volume, options: SpaceOptions) {
    this.#volume = volume;
    this.#options = options;
  }

  /** Uploads under way, and bytes admitted that are not written yet. */
  get load(): { uploads: number; reservedBytes: number } {
    return { uploads: this.#uploads, reservedBytes: this.#reservedBytes };
  }

  /**
   * Admits one upload.
   *
   * @throws {Fault} UPLOADS_TOO_MANY at the bound; STORAGE_FULL without room; STORAGE_ codes of statfs.
   */
  async admitUpload(length: number | undefined): Promise<Reservation> {
    const { maxUploads, unknownLengthBytes } = this.#options;
    if (this.#uploads >= maxUploads) {
      throw new Fault(
        'UPLOADS_TOO_MANY',
        `cannot take another upload: ${maxUploads} are under way, the limit`,
      );
    }
    this.#uploads += 1;
    try {
      const reservation = await this.reserve(length ?? unknownLengthBytes);
      return { ...reservation, release: once(() => (reservation.release(), (this.#uploads -= 1))) };
    } catch (error) {
      this.#uploads -= 1;
      throw error;
    }
  }

  /** Sets bytes aside for what is not an upload. @throws {Fault} STORAGE_FULL without room for them. */
  async reserve(bytes: number): Promise<Reservation> {
    // Set aside before the look, so that two who ask at once do not both see the same free bytes.
    let left = bytes;
    const settle = (count: number): void => {
      const taken = Math.min(left, count);
      left -= taken;
      this.#reservedBytes -= taken;
    };
    this.#reservedBytes += bytes;
    const reservation = { wrote: settle, release: () => settle(left) };
    try {
      await this.#assertRoom(bytes);
    } catch (error) {
      reservation.release();
      throw error;
    }
    return reservation;
  }

  async #assertRoom(bytes: number): Promise<void> {
    const { freeBytes } = await this.#volume.space();
    const { reserveBytes } = this.#options;
    const others = this.#reservedBytes - bytes;
    const room = freeBytes - others - reserveBytes;
    if (bytes <= room) return;
    const seen = `${freeBytes} are free, of which ${others} are promised to others and ${reserveBytes} are kept as a reserve`;
    throw new Fault('STORAGE_FULL', `cannot take ${bytes} bytes: ${seen}`, {
      detail: { bytes, freeBytes, promisedBytes: others, reserveBytes },
    });
  }
}

function once(work: () => void): () => void {
  let done = false;
  return () => {
    if (!done) work();
    done = true;
  };
}
