import { randomBytes } from 'node:crypto';
import { promises as fs, type Dirent } from 'node:fs';

/** Below PATH_MAX by more than one name: a script may nest folders deeper than a path may be long. */
const LONG_PATH = 3000;
const OPEN_MODE = 0o700;

/**
 * Removes a folder of the local disk and all that is in it; links are not followed; nothing happens where there is none.
 *
 * Not fs.rm: scripts leave folders behind that nobody may write to or look into, and paths that are too long.
 *
 * @throws {Error} of the disk, with its errno.
 */
export async function removeLocalTree(root: string): Promise<void> {
  const found = await orNothing(() => fs.lstat(root));
  if (found === undefined) return;
  // A link that a script put in its place leads to what is somebody else's.
  if (!found.isDirectory()) {
    await orNothing(() => fs.unlink(root));
    return;
  }
  await empty(root, root);
  await orNothing(() => fs.rmdir(root));
}

async function empty(root: string, folder: string): Promise<void> {
  const entries = await orNothing(async (): Promise<Dirent[]> => {
    await fs.chmod(folder, OPEN_MODE);
    return fs.readdir(folder, { withFileTypes: true });
  });
  for (const entry of entries ?? []) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) await removeInner(root, path);
    else await orNothing(() => fs.unlink(path));
  }
}

async function removeInner(root: string, folder: string): Promise<void> {
  let path = folder;
  if (path.length > LONG_PATH) {
    path = `${root}/${randomBytes(8).toString('hex')}`;
    await fs.rename(folder, path);
  }
  await empty(root, path);
  await orNothing(() => fs.rmdir(path));
}

/** Somebody else may remove the same. */
async function orNothing<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
