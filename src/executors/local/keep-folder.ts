import { randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { parseScriptKey, type ScriptKey } from '../../protocol/ticket.ts';
import type { ScriptKeep } from '../executor.ts';

/** Keeps one file a script in `<state>/kept/`, on local disk. */
export class KeepFolder implements ScriptKeep {
  readonly #root: string;

  constructor(stateFolder: string) {
    this.#root = join(stateFolder, 'kept');
  }

  async put(key: ScriptKey, text: string): Promise<void> {
    await fs.mkdir(this.#root, { recursive: true, mode: 0o700 });
    const temporary = join(this.#root, `.${key}.${randomBytes(8).toString('hex')}`);
    try {
      await fs.writeFile(temporary, text, { mode: 0o600, flag: 'wx', flush: true });
      await fs.rename(temporary, join(this.#root, key));
    } finally {
      await fs.rm(temporary, { force: true });
    }
    await this.#sync();
  }

  async all(): Promise<ReadonlyMap<ScriptKey, string>> {
    const kept = new Map<ScriptKey, string>();
    for (const name of await this.#names()) {
      const key = parseScriptKey(name);
      const text = key && (await this.#read(name));
      if (key && text !== undefined) kept.set(key, text);
    }
    return kept;
  }

  async forget(key: ScriptKey): Promise<void> {
    await fs.rm(join(this.#root, key), { force: true });
  }

  /** Makes the new name durable; without it a crash of the machine may take it back. */
  async #sync(): Promise<void> {
    const folder = await fs.open(this.#root, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  async #names(): Promise<string[]> {
    return (await unlessAbsent(fs.readdir(this.#root))) ?? [];
  }

  async #read(name: string): Promise<string | undefined> {
    return unlessAbsent(fs.readFile(join(this.#root, name), 'utf8'));
  }
}

async function unlessAbsent<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
