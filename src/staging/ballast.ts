import { randomBytes } from 'node:crypto';
import type { Volume } from '../mount/volume.ts';
import { Fault } from '../protocol/fault.ts';
import { writeDurable } from './atomic-file.ts';

const BALLAST_BYTES = 4 * 2 ** 20;
/** Taken again only where much more than itself is free, so that it does not fight with a script over the last bytes. */
const ROOM_FACTOR = 8;

/**
 * Some bytes of the volume that are kept to be thrown away when it is full.
 *
 * A script that fills the volume could else never be settled, nor completed, since both are written there: and only
 * its completion gives the room back.
 */
export class Ballast {
  readonly #volume: Volume;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** Makes sure that there is some, where there is room for it. May be repeated, by several agents. */
  async keep(): Promise<void> {
    const path = this.#volume.layout.ballast;
    if ((await this.#volume.look(path)) !== undefined) return;
    const { freeBytes } = await this.#volume.space();
    if (freeBytes < BALLAST_BYTES * ROOM_FACTOR) return;
    try {
      // Random, so that no file system stores it as a hole or compressed.
      await writeDurable(this.#volume, path, randomBytes(BALLAST_BYTES));
    } catch (error) {
      // Another agent made it in this moment, or the room was taken meanwhile: the next look tries again.
      if (!(error instanceof Fault)) throw error;
    }
  }

  /** Does `work`; where the volume is full, throws the ballast away and does it again. @throws {Fault} as `work` does. */
  async spendFor<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const isFull = error instanceof Fault && error.code === 'STORAGE_FULL';
      if (!isFull || !(await this.#volume.remove(this.#volume.layout.ballast))) throw error;
      return work();
    }
  }
}
