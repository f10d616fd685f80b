import { promises as fs } from 'node:fs';
import { meaningOf } from '../mount/errno.ts';
import { holdsVersion, putVersion, watchVersions } from './whole-file.ts';
import type { ExclusiveFacts, RenameFacts, Trials } from './trial-words.ts';

const RENAME_MS = 800;
const MAX_RENAMES = 1000;
const NAMES = 20;
const CREATORS = 8;
const LISTED = 40;

/** Replaces a file by rename while two readers open and read it; calls of one process run side by side on its threads. */
export async function tryRename(folder: string): Promise<RenameFacts> {
  const path = `${folder}/renamed`;
  await putVersion(path, 0);
  let isOver = false;
  const readers = [1, 2].map(() => watchVersions(path, () => isOver));
  const until = performance.now() + RENAME_MS;
  let renames = 0;
  try {
    while (renames < MAX_RENAMES && performance.now() < until) await putVersion(path, (renames += 1));
  } finally {
    isOver = true;
    await Promise.allSettled(readers);
  }
  const [one, two] = await Promise.all(readers);
  if (one === undefined || two === undefined) throw new TypeError('there are two readers');
  const isGone = !(await fs.readdir(folder)).includes('renamed.next');
  return {
    renames,
    isLast: isGone && (await holdsVersion(path, renames)),
    reads: one.reads + two.reads,
    absent: one.absent + two.absent,
    mixed: one.mixed + two.mixed,
    stale: one.stale + two.stale,
  };
}

/** Creates each of some names from several sides at once. */
export async function tryExclusive(folder: string): Promise<ExclusiveFacts> {
  const facts = { names: NAMES, creators: CREATORS, doubled: 0, missing: 0 };
  for (let name = 0; name < NAMES; name += 1) {
    const path = `${folder}/exclusive-${name}`;
    const won = await Promise.all(Array.from({ length: CREATORS }, () => createsFirst(path)));
    const winners = won.filter(Boolean).length;
    if (winners > 1) facts.doubled += 1;
    if (winners === 0) facts.missing += 1;
  }
  return facts;
}

/** Creates a file; false where somebody has already. @throws {Error} for any other errno. */
export async function createsFirst(path: string): Promise<boolean> {
  try {
    await (await fs.open(path, 'wx')).close();
    return true;
  } catch (error) {
    if (meaningOf(error) === 'exists') return false;
    throw error;
  }
}

/** Lists a folder after making files, and after removing every other one. */
export async function tryListing(folder: string): Promise<Trials['listing']> {
  const place = `${folder}/listed`;
  await fs.mkdir(place);
  const names = Array.from({ length: LISTED }, (_, number) => `file-${number}`);
  for (const name of names) await fs.writeFile(`${place}/${name}`, name);
  const made = new Set(await fs.readdir(place));
  const removed = names.filter((_, number) => number % 2 === 0);
  for (const name of removed) await fs.unlink(`${place}/${name}`);
  const left = new Set(await fs.readdir(place));
  const kept = names.filter((name) => !removed.includes(name));
  return {
    files: LISTED,
    unseen: names.filter((name) => !made.has(name)).length + kept.filter((name) => !left.has(name)).length,
    stillSeen: removed.filter((name) => left.has(name)).length,
  };
}

/** Gives a file a second name, through which it is read. */
export async function tryLinks(folder: string): Promise<Trials['links']> {
  const [one, two] = [`${folder}/linked`, `${folder}/linked-2`];
  await fs.writeFile(one, 'linked');
  try {
    await fs.link(one, two);
  } catch (error) {
    const errno = error instanceof Error && 'errno' in error ? error.errno : undefined;
    // Which number says "no hard links" differs from file system to file system.
    return { refused: typeof errno === 'number' ? Math.abs(errno) : 0 };
  }
  await fs.unlink(one);
  if ((await fs.readFile(two, 'latin1')) !== 'linked') throw new Error('the second name has other bytes');
  return {};
}
