import { randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ScriptKey } from '../../protocol/ticket.ts';
import type { ProcessMark } from './machine.ts';

/** In the place of a script key, which never begins so: runners that have no script yet. */
const SPARE = '.spare';
const STDOUT = 'stdout';
const PROCESS = 'process.json';
const COPY = 'copy';
/** Milliseconds since 1970 and 64 random bits, so that names sort by age. */
const RUN = /^[0-9a-f]{12}-[0-9a-f]{16}$/;

/**
 * What the executor keeps of a runner on local disk:
 *
 *   <state>/runs/<key>/<time>-<random>/
 *     stdout           what the runner writes: the first witness of the journal, or its last words
 *     process.json     which process it is, for an agent that comes later and finds no claim
 *     copy/            where a script works that does not work on the volume; its runner makes and removes it
 *
 * A key may have several: a script may be launched again, and only one runner of them runs it.
 */
export class RunFolders {
  readonly #root: string;

  constructor(stateFolder: string) {
    this.#root = join(stateFolder, 'runs');
  }

  /** Makes the folder of a runner that is about to start. */
  async make(key: ScriptKey | typeof SPARE): Promise<string> {
    const folder = join(this.#root, key, newRun());
    await fs.mkdir(folder, { recursive: true, mode: 0o700 });
    return folder;
  }

  async makeSpare(): Promise<string> {
    return this.make(SPARE);
  }

  /** Gives the folder of a spare runner to a script. The runner finds the new name by its open stdout. */
  async assign(spareFolder: string, key: ScriptKey): Promise<string> {
    const folder = join(this.#root, key, newRun());
    await fs.mkdir(dirname(folder), { recursive: true, mode: 0o700 });
    await fs.rename(spareFolder, folder);
    return folder;
  }

  stdoutOf(folder: string): string {
    return join(folder, STDOUT);
  }

  copyOf(folder: string): string {
    return join(folder, COPY);
  }

  /** The copies of a script that are there: of a runner that is at it, or that did not live to remove it. */
  async copiesOf(key: ScriptKey): Promise<string[]> {
    const places = (await this.of(key)).map((folder) => this.copyOf(folder));
    const there = await Promise.all(places.map((place) => fs.access(place).then(isThere, isAbsentOrThrow)));
    return places.filter((_, index) => there[index]);
  }

  /** Notes which process the runner is. Before the order is handed over: a runner without a note has no order. */
  async note(folder: string, mark: ProcessMark): Promise<void> {
    await fs.writeFile(join(folder, PROCESS), JSON.stringify(mark));
  }

  /** Reads the note; undefined where there is none, or not a whole one: then that runner has no order. */
  async noted(folder: string): Promise<ProcessMark | undefined> {
    try {
      const text = await fs.readFile(join(folder, PROCESS), 'utf8');
      const { pid, startTicks } = JSON.parse(text) as Partial<ProcessMark>;
      return typeof pid === 'number' && typeof startTicks === 'string' ? { pid, startTicks } : undefined;
    } catch (error) {
      if (error instanceof SyntaxError || isAbsent(error)) return undefined;
      throw error;
    }
  }

  /** The folders of a script, the newest first. */
  async of(key: ScriptKey | typeof SPARE): Promise<string[]> {
    try {
      const names = (await fs.readdir(join(this.#root, key))).filter((name) => RUN.test(name));
      return names
        .sort()
        .reverse()
        .map((name) => join(this.#root, key, name));
    } catch (error) {
      if (isAbsent(error)) return [];
      throw error;
    }
  }

  async spares(): Promise<string[]> {
    return this.of(SPARE);
  }

  async remove(folder: string): Promise<void> {
    await fs.rm(folder, { recursive: true, force: true });
  }

  /** Removes all folders of a script. */
  async removeAll(key: ScriptKey): Promise<void> {
    await this.remove(join(this.#root, key));
  }
}

/**
 * Returns the folder of a stdout that a claim names, of this agent or of another one on this machine; undefined where
 * the path is none of a runner of `key`. A script can write into its own claim, and must not choose what is read or
 * removed.
 */
export function folderNamedBy(stdout: string | null, key: ScriptKey): string | undefined {
  if (stdout === null || !stdout.startsWith('/')) return undefined;
  const folder = dirname(stdout);
  const [runs, ofKey, run] = folder.split('/').slice(-3);
  const fits = runs === 'runs' && ofKey === key && RUN.test(run ?? '');
  return fits && stdout === join(folder, STDOUT) ? folder : undefined;
}

function newRun(): string {
  return `${Date.now().toString(16).padStart(12, '0')}-${randomBytes(8).toString('hex')}`;
}

function isThere(): boolean {
  return true;
}

function isAbsentOrThrow(error: unknown): boolean {
  if (isAbsent(error)) return false;
  throw error;
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
