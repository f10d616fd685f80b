import { promises as fs } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { errnoNameOf, errnoOf } from '../mount/errno.ts';
import type { Sightings } from './trial-words.ts';

const WORD = 8;
const WORDS = 2048;

/** The content of the nth version: 16 KiB of its number, so that a mix of two is seen. */
function versionText(number: number): string {
  return String(number).padStart(WORD, '0').repeat(WORDS);
}

function isWhole(text: string): boolean {
  return text.length === WORD * WORDS && text === text.slice(0, WORD).repeat(WORDS);
}

/** Writes the nth version and renames it over `path`. */
export async function putVersion(path: string, number: number): Promise<void> {
  const temporary = `${path}.next`;
  await fs.writeFile(temporary, versionText(number));
  await fs.rename(temporary, path);
}

/** Tells whether `path` holds exactly the nth version. */
export async function holdsVersion(path: string, number: number): Promise<boolean> {
  return (await fs.readFile(path, 'latin1')) === versionText(number);
}

/**
 * Opens and reads a file that somebody replaces, until `isOver` says so.
 *
 * @throws {Error} for every errno but ENOENT and ESTALE, which are counted.
 */
export async function watchVersions(path: string, isOver: () => boolean): Promise<Sightings> {
  const seen = { reads: 0, absent: 0, mixed: 0, stale: 0 };
  while (!isOver()) {
    const text = await textOrErrno(path);
    seen.reads += 1;
    if (text === 'ENOENT') seen.absent += 1;
    else if (text === 'ESTALE') seen.stale += 1;
    else if (!isWhole(text)) seen.mixed += 1;
    // Calls that are answered from a cache would leave the other side no time.
    if (seen.reads % 16 === 0) await pause(1);
  }
  return seen;
}

async function textOrErrno(path: string): Promise<string> {
  try {
    return await fs.readFile(path, 'latin1');
  } catch (error) {
    const name = errnoNameOf(errnoOf(error) ?? 0);
    if (name === 'ENOENT' || name === 'ESTALE') return name;
    throw error;
  }
}
