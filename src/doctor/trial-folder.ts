import { promises as fs } from 'node:fs';
import { dirname } from 'node:path';
import { meaningOf } from '../mount/errno.ts';
import { isDoctorFolder } from '../protocol/volume-layout.ts';
import type { Trials } from './trial-words.ts';

/** A run lasts half a minute: what is so much older belongs to a doctor that was killed. */
const LEFT_MS = 600_000;

/** Looks whether the volume answers at all; statfs(2) of a network file system never comes from a cache. */
export async function tryAnswers(volume: string): Promise<Trials['answers']> {
  const begun = performance.now();
  const realPath = await fs.realpath(volume);
  await fs.statfs(realPath);
  await fs.readdir(realPath);
  return { realPath, ms: performance.now() - begun };
}

/** Makes the doctor's folder, and removes those that were left. */
export async function tryFolder(folder: string): Promise<Trials['folder']> {
  await makeFolder(folder);
  return { swept: await sweep(dirname(folder)) };
}

/** Makes a folder that may be there already. Not by a recursive mkdir, which hides the errno behind an ENOENT. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await fs.mkdir(folder);
  } catch (error) {
    if (meaningOf(error) !== 'exists') throw error;
  }
}

/** Removes a folder with all that is in it; it may be gone already. */
export async function tryCleanup(folder: string): Promise<Trials['cleanup']> {
  await fs.rm(folder, { recursive: true, force: true, maxRetries: 3, retryDelay: 100 });
  return { removed: true };
}

async function sweep(volume: string): Promise<number> {
  let swept = 0;
  for (const name of (await fs.readdir(volume)).filter(isDoctorFolder)) {
    if (await removedLeft(`${volume}/${name}`)) swept += 1;
  }
  return swept;
}

async function removedLeft(folder: string): Promise<boolean> {
  try {
    if (Date.now() - (await fs.stat(folder)).mtimeMs < LEFT_MS) return false;
    await tryCleanup(folder);
    return true;
  } catch (error) {
    // Another doctor swept it first, or it belongs to another user, whose doctor will.
    if (['absent', 'denied', 'exists'].includes(meaningOf(error))) return false;
    throw error;
  }
}
