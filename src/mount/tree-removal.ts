import { randomBytes } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { Fault } from '../protocol/fault.ts';
import { meaningOf } from './errno.ts';
import { inParallel } from './in-parallel.ts';

/** What removing a tree needs of the volume. */
export interface TreeHands {
  list(path: string): Promise<Dirent[] | undefined>;
  remove(path: string): Promise<boolean>;
  removeFolder(path: string): Promise<boolean>;
  rename(from: string, to: string): Promise<boolean>;
  changeMode(path: string, mode: number): Promise<void>;
}

const FILES_AT_ONCE = 8;
const ROUNDS = 3;
/** Below PATH_MAX by more than one name: a script may nest folders deeper than a path may be long. */
const LONG_PATH = 3000;

/**
 * Removes a folder, or file, and all that is in it; links are not followed; nothing happens where there is none.
 *
 * Each step passes the gate on its own: fs.rm would start thousands of calls at once behind a single place.
 *
 * @throws {Fault} STORAGE_ERROR where somebody keeps adding files, and other STORAGE_ codes.
 */
export async function removeTree(hands: TreeHands, root: string): Promise<void> {
  for (let round = 1; round <= ROUNDS; round += 1) {
    await empty(hands, root, root);
    if (await hands.removeFolder(root)) return;
    if ((await hands.list(root)) === undefined) return;
  }
  throw new Fault('STORAGE_ERROR', `cannot remove ${root}: it is not empty after ${ROUNDS} rounds`, {
    detail: { operation: 'remove-tree', path: root },
  });
}

async function empty(hands: TreeHands, root: string, folder: string): Promise<void> {
  const entries = await unlocking(hands, folder, () => hands.list(folder));
  if (entries === undefined) {
    await hands.remove(folder);
    return;
  }
  const folders = entries.filter((entry) => entry.isDirectory());
  const files = entries.filter((entry) => !entry.isDirectory());
  await inParallel(files, FILES_AT_ONCE, ({ name }) =>
    unlocking(hands, folder, () => hands.remove(`${folder}/${name}`)),
  );
  for (const { name } of folders) await removeInner(hands, root, `${folder}/${name}`);
}

async function removeInner(hands: TreeHands, root: string, folder: string): Promise<void> {
  let path = folder;
  if (path.length > LONG_PATH) {
    path = `${root}/${randomBytes(8).toString('hex')}`;
    await hands.rename(folder, path);
  }
  await empty(hands, root, path);
  await unlocking(hands, path.slice(0, path.lastIndexOf('/')), () => hands.removeFolder(path));
}

/** Scripts leave folders behind that nobody may write to or look into. Their owner, which we are, may change that. */
async function unlocking<T>(hands: TreeHands, folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (meaningOf(error) !== 'denied') throw error;
    await hands.changeMode(folder, 0o700);
    return work();
  }
}
