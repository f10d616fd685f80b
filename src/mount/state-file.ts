import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Fault } from '../protocol/fault.ts';
import { meaningOf } from './errno.ts';

/**
 * Reads a small file of the local disk, or makes it with `initial()` where it is missing: mode 0600, whole or not at
 * all, and of agents that start at once all read the same.
 *
 * @throws {Fault} CONFIG_INVALID with the path when it can be neither read nor made.
 */
export async function readOrMake(
  path: string,
  initial: () => string,
): Promise<{ text: string; made: boolean }> {
  try {
    const text = await readIfThere(path);
    if (text !== undefined) return { text, made: false };
    const made = await makeOnce(path, initial());
    return { text: await readFile(path, 'utf8'), made };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Fault('CONFIG_INVALID', `cannot read or make ${path}: ${why}`, {
      cause: error,
      detail: { path },
    });
  }
}

/** Reads a small file of the local disk; undefined where there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (meaningOf(error) === 'absent') return undefined;
    throw error;
  }
}

async function makeOnce(path: string, text: string): Promise<boolean> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.tmp-${randomBytes(8).toString('hex')}`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if (meaningOf(error) === 'exists') return false;
    throw error;
  } finally {
    await unlink(temporary);
  }
}
