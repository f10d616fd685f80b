import { randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ScriptKey } from '../../protocol/ticket.ts';
import type { ProcessMark } from './machine.ts';

/** Beside script keys, which never begin so: a runner that has no script yet. */
const SPARE = '.spare';
const FOLDER = /^(.+)-[0-9a-f]{16}$/;
const STDOUT = 'stdout';
const PROCESS = 'process.json';

/**
 * What the executor keeps of a runner on local disk:
 *
 *   <state>/runs/<key>-<random>/
 *     stdout           what the runner writes: the first witness of the journal, or its last words
 *     process.json     which process it is, for an agent that comes later and finds no claim
 *
 * A key may have several: runners may be launched again, and only one of them runs the script.
 */
export class RunFolders {
  readonly root: string;

  constructor(stateFolder: string) {
    this.root = join(stateFolder, 'runs');
  }

  /** Makes the folder of a runner that is about to start. */
  async make(key: ScriptKey | typeof SPARE): Promise<string> {
    const folder = join(this.root, `${key}-${randomBytes(8).toString('hex')}`);
    await fs.mkdir(folder, { recursive: true, mode: 0o700 });
    return folder;
  }

  async makeSpare(): Promise<string> {
    return this.make(SPARE);
  }

  /** Gives the folder of a spare runner to a script. The runner finds the new name by its open stdout. */
  async assign(spareFolder: string, key: ScriptKey): Promise<string> {
    const folder = join(this.root, `${key}-${randomBytes(8).toString('hex')}`);
    await fs.rename(spareFolder, folder);
    return folder;
  }

  stdoutOf(folder: string): string {
    return join(folder, STDOUT);
  }

  /** Notes which process the runner is. Before the order is handed over: a runner without a note has no order. */
  async note(folder: string, mark: ProcessMark): Promise<void> {
    await fs.writeFile(join(folder, PROCESS), JSON.stringify(mark));
  }

  /** Reads the note; undefined where there is none, or not a whole one: then that runner has no order. */
  async noted(folder: string): Promise<ProcessMark | undefined> {
    try {
      const { pid, startTicks } = JSON.parse(
        await fs.readFile(join(folder, PROCESS), 'utf8'),
      ) as Partial<ProcessMark>;
      return typeof pid === 'number' && typeof startTicks === 'string' ? { pid, startTicks } : undefined;
    } catch (error) {
      if (error instanceof SyntaxError || isAbsent(error)) return undefined;
      throw error;
    }
  }

  /** The folders of a script, the newest first. */
  async of(key: ScriptKey | typeof SPARE): Promise<string[]> {
    const names = (await this.#names()).filter((name) => FOLDER.exec(name)?.[1] === key);
    const folders = names.map((name) => join(this.root, name));
    const dated = await Promise.all(folders.map(async (folder) => ({ folder, at: await birthOf(folder) })));
    return dated.sort((left, right) => right.at - left.at).map(({ folder }) => folder);
  }

  async spares(): Promise<string[]> {
    return this.of(SPARE);
  }

  async remove(folder: string): Promise<void> {
    await fs.rm(folder, { recursive: true, force: true });
  }

  async #names(): Promise<string[]> {
    try {
      return await fs.readdir(this.root);
    } catch (error) {
      if (isAbsent(error)) return [];
      throw error;
    }
  }
}

/**
 * Returns the folder of a stdout that a claim names, of this agent or of another one on this machine; undefined where
 * the path is none of a runner of `key`. A script can write into its own claim, and must not choose what is read or
 * removed.
 */
export function folderNamedBy(stdout: string | null, key: ScriptKey): string | undefined {
  if (stdout === null || !stdout.startsWith('/') || stdout.includes('/../')) return undefined;
  const folder = dirname(stdout);
  const name = folder.slice(folder.lastIndexOf('/') + 1);
  const fits = FOLDER.exec(name)?.[1] === key && dirname(folder).endsWith('/runs');
  return fits && stdout === join(folder, STDOUT) ? folder : undefined;
}

async function birthOf(folder: string): Promise<number> {
  try {
    return (await fs.stat(folder)).birthtimeMs;
  } catch (error) {
    // Removed meanwhile.
    if (isAbsent(error)) return 0;
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
