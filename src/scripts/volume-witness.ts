import type { Witness } from '../executors/executor.ts';
import type { Volume } from '../mount/volume.ts';

/**
 * The copy of the journal that the runner keeps on the volume.
 *
 * Opened anew for every read: on a network file system only an open asks the server what the file holds now.
 */
export class VolumeWitness implements Witness {
  readonly #volume: Volume;
  readonly #path: string;

  constructor(volume: Volume, path: string) {
    this.#volume = volume;
    this.#path = path;
  }

  async start(): Promise<number> {
    return 0;
  }

  async size(): Promise<number> {
    const file = await this.#volume.openToRead(this.#path);
    if (file === undefined) return 0;
    try {
      const { size, isFile } = await file.stat();
      return isFile ? size : 0;
    } finally {
      await file.close();
    }
  }

  async readAt(position: number, length: number): Promise<Buffer> {
    const file = await this.#volume.openToRead(this.#path);
    if (file === undefined) return Buffer.alloc(0);
    try {
      // A script owns out/ and may have put a pipe or a device in the journal's place.
      return (await file.stat()).isFile ? await file.readAt(position, length) : Buffer.alloc(0);
    } finally {
      await file.close();
    }
  }

  async close(): Promise<void> {
    // Nothing stays open between reads.
  }
}
