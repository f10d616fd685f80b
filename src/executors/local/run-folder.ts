import { randomBytes } from 'node:crypto';
import { mkdir, open, rm, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join, normalize } from 'node:path';
import type { Witness } from '../executor.ts';
import type { ScriptKey } from '../../protocol/ticket.ts';

/** Where runners write their stdout: `<state>/runs/<key>-<random>/stdout`, on the local disk. */
export class RunFolders {
  readonly #runs: string;

  constructor(stateFolder: string) {
    this.#runs = join(stateFolder, 'runs');
  }

  /** Makes a fresh folder for one attempt and opens its file for appending; the caller closes it. */
  async make(key: ScriptKey): Promise<{ path: string; file: FileHandle }> {
    const folder = join(this.#runs, `${key}-${randomBytes(8).toString('hex')}`);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, 'stdout');
    return { path, file: await open(path, 'ax', 0o600) };
  }

  /** Removes the folder of a file that `make` made; nothing happens where it is gone. */
  async remove(path: string): Promise<void> {
    await rm(dirname(path), { recursive: true, force: true });
  }
}

/** Whether an executor, of this agent or another one, made `path` for the script `key`. */
export function isRunFile(path: string, key: ScriptKey): boolean {
  const [folder, runs] = [basename(dirname(path)), basename(dirname(dirname(path)))];
  const isOurs = folder.startsWith(`${key}-`) && /^[0-9a-f]{16}$/.test(folder.slice(key.length + 1));
  return path === normalize(path) && basename(path) === 'stdout' && runs === 'runs' && isOurs;
}

/** Opens a file that only grows as a witness; undefined where there is none. */
export async function fileWitness(path: string): Promise<Witness | undefined> {
  try {
    const file = await open(path, 'r');
    return {
      size: async () => (await file.stat()).size,
      readAt: async (position, length) => {
        const buffer = Buffer.allocUnsafe(length);
        const { bytesRead } = await file.read(buffer, 0, length, position);
        return buffer.subarray(0, bytesRead);
      },
      close: () => file.close(),
    };
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
