import { randomBytes } from 'node:crypto';
import { Fault } from '../protocol/fault.ts';
import { TEMPORARY_MARK } from '../protocol/volume-layout.ts';
import type { Volume } from '../mount/volume.ts';

const VALUE = 'value';
const TEMPORARY = new RegExp(`${TEMPORARY_MARK}[0-9a-f]{16}$`);

/** A name beside `target` that nobody else has: on a shared volume pids and counters repeat, 64 random bits do not. */
export function temporaryBeside(target: string): string {
  return `${target}${TEMPORARY_MARK}${randomBytes(8).toString('hex')}`;
}

/** Tells the sweeper whether a name is one that temporaryBeside made. */
export function isTemporary(name: string): boolean {
  return TEMPORARY.test(name);
}

/** The folder of a path of the volume. */
export function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}

/**
 * Makes `bytes` appear at `target` whole or not at all, in place of what was there.
 *
 * The folder of `target` exists. Durable on return: file and folder are fsynced. Of concurrent callers the last
 * rename wins; no reader sees a mix. An error leaves no temporary file, unless the volume refuses its removal too.
 *
 * @throws {Fault} STORAGE_FULL and the other STORAGE_ codes; the error of close(2) counts.
 * Source: rename(2), fsync(2); invariant 1.
 */
export async function writeAtomic(
  volume: Volume,
  target: string,
  bytes: Uint8Array,
  mode = 0o644,
): Promise<void> {
  const temporary = temporaryBeside(target);
  await writeDurable(volume, temporary, bytes, mode);
  const renamed = await removingOnError(volume, temporary, () => volume.rename(temporary, target));
  if (!renamed)
    throw new Fault('STORAGE_ERROR', `${temporary} vanished before it could be renamed to ${target}`);
  await volume.syncFolder(folderOf(target));
}

/**
 * Makes `bytes` appear at `target` whole, durable, and only if nothing is there; false where something is.
 *
 * Of concurrent callers, on one node or several, exactly one gets true. Read the result with `readOnce`: where the
 * file system has no hard links, the file is a folder that was renamed into place and holds it.
 *
 * Source: link(2) and rename(2) of a folder onto one with content both refuse; O_EXCL alone would show half a file.
 */
export async function writeOnce(volume: Volume, target: string, bytes: Uint8Array): Promise<boolean> {
  const temporary = temporaryBeside(target);
  await writeDurable(volume, temporary, bytes);
  const linked = await removingOnError(volume, temporary, () => volume.link(temporary, target));
  await volume.remove(temporary);
  const made = linked === 'unsupported' ? await publishAsFolder(volume, target, bytes) : linked === 'made';
  await volume.syncFolder(folderOf(target));
  return made;
}

/** Reads what writeOnce wrote; undefined where nothing is. @throws {RangeError} beyond `maxBytes`. */
export async function readOnce(
  volume: Volume,
  target: string,
  maxBytes: number,
): Promise<Buffer | undefined> {
  const file = await volume.openToRead(target);
  if (file === undefined) return undefined;
  try {
    const { isFile } = await file.stat();
    return isFile ? await file.readAll(maxBytes) : await volume.read(`${target}/${VALUE}`, maxBytes);
  } finally {
    await file.close();
  }
}

/** Writes a new file, fsyncs and closes it; on error removes what it made. `path` must be a fresh name. */
export async function writeDurable(
  volume: Volume,
  path: string,
  bytes: Uint8Array,
  mode = 0o644,
): Promise<void> {
  const file = await volume.create(path, mode);
  if (file === undefined) throw new Fault('STORAGE_ERROR', `cannot create ${path}: the name is taken`);
  await removingOnError(volume, path, async () => {
    try {
      await file.write([Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)], 0);
      await file.sync();
    } catch (error) {
      // The first error is the one to tell; closing only gives the descriptor back.
      await file.close().catch(() => undefined);
      throw error;
    }
    await file.close();
  });
}

async function publishAsFolder(volume: Volume, target: string, bytes: Uint8Array): Promise<boolean> {
  const folder = temporaryBeside(target);
  await volume.makeFolder(folder);
  await writeDurable(volume, `${folder}/${VALUE}`, bytes);
  await volume.syncFolder(folder);
  const made = await volume.renameExclusive(folder, target);
  if (!made) await volume.removeTree(folder);
  return made;
}

async function removingOnError<T>(volume: Volume, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // A volume that refused the write may refuse the removal; the sweeper takes what is left.
    await volume.remove(path).catch(() => undefined);
    throw error;
  }
}
