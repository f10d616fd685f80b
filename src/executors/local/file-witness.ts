import { constants, promises as fs } from 'node:fs';
import type { Witness } from '../executor.ts';

/** The stdout of a runner as a file on local disk. */
export class FileWitness implements Witness {
  readonly #handle: fs.FileHandle;

  private constructor(handle: fs.FileHandle) {
    this.#handle = handle;
  }

  /** Opens it; undefined where there is no such plain file. */
  static async open(path: string): Promise<FileWitness | undefined> {
    // Neither a link nor a FIFO: the path may come out of a claim, which a script can write.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    try {
      const handle = await fs.open(path, flags);
      if ((await handle.stat()).isFile()) return new FileWitness(handle);
      await handle.close();
      return undefined;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined;
      throw error;
    }
  }

  async start(): Promise<number> {
    return 0;
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async readAt(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    const { bytesRead } = await this.#handle.read(buffer, 0, length, position);
    return buffer.subarray(0, bytesRead);
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
