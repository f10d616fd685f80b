import { randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { PermissionFacts, SpaceFacts, Trials } from './trial-words.ts';

const FSYNC_ROUNDS = 10;
const FSYNC_MS = 1500;
const REOPENED = 10;
const MIB = 2 ** 20;
const LARGE_BYTES = 64 * MIB;
/** A volume that is nearly full is not filled up. */
const SHARE_OF_FREE = 4;
const READ_ONLY = 0o444;
/** Free space that a server gives back a little later counts as given back. */
const LATER_MS = 100;
const LATER_LOOKS = 10;

/** Times fsync of new files and of their folder. */
export async function tryFsync(folder: string): Promise<Trials['fsync']> {
  const fileMs: number[] = [];
  const folderMs: number[] = [];
  const until = performance.now() + FSYNC_MS;
  for (let round = 0; round < FSYNC_ROUNDS && (round === 0 || performance.now() < until); round += 1) {
    fileMs.push(await withOpen(`${folder}/synced-${round}`, 'wx', (file) => syncMs(file, randomBytes(4096))));
    folderMs.push(await withOpen(folder, 'r', (opened) => syncMs(opened)));
  }
  return { fileMs, folderMs };
}

async function withOpen<T>(
  path: string,
  flags: string,
  work: (file: fs.FileHandle) => Promise<T>,
): Promise<T> {
  const file = await fs.open(path, flags);
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

async function syncMs(file: fs.FileHandle, bytes?: Uint8Array): Promise<number> {
  if (bytes) await file.write(bytes);
  const begun = performance.now();
  await file.sync();
  return performance.now() - begun;
}

/** Writes, closes, opens, reads; then the same with an append and with bytes in place. */
export async function tryCloseToOpen(folder: string): Promise<Trials['close-to-open']> {
  let wrong = 0;
  const path = `${folder}/reopened`;
  for (let round = 0; round < REOPENED; round += 1) {
    const [first, second] = [randomBytes(3000).toString('hex'), randomBytes(3000).toString('hex')];
    await fs.writeFile(path, first);
    if ((await fs.readFile(path, 'latin1')) !== first) wrong += 1;
    await fs.appendFile(path, second);
    if ((await fs.readFile(path, 'latin1')) !== first + second) wrong += 1;
  }
  return { rounds: 2 * REOPENED, wrong };
}

/** Makes a file read-only, reads it, and removes it; tells whose it is. */
export async function tryPermissions(folder: string): Promise<PermissionFacts> {
  const path = `${folder}/read-only`;
  await fs.writeFile(path, 'read-only');
  await fs.chmod(path, READ_ONLY);
  const { uid: ownerUid, gid: ownerGid, mode } = await fs.stat(path);
  await fs.readFile(path);
  await fs.unlink(path);
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  return { uid, gid, ownerUid, ownerGid, mode: mode & 0o7777 };
}

/** Writes 64 MiB, less on a volume that is nearly full, and looks at the free space before, with and without them. */
export async function trySpace(folder: string): Promise<SpaceFacts> {
  const freeBefore = await freeBytes(folder);
  const pieces = Math.max(1, Math.floor(Math.min(LARGE_BYTES, freeBefore / SHARE_OF_FREE) / MIB));
  const path = `${folder}/large`;
  const piece = randomBytes(MIB);
  const begun = performance.now();
  await withOpen(path, 'wx', async (file) => {
    for (let number = 0; number < pieces; number += 1) await file.write(piece);
    await file.sync();
  });
  const seconds = (performance.now() - begun) / 1000;
  const half = (pieces * MIB) / 2;
  const freeFull = await freeWhen(folder, (free) => freeBefore - free >= half);
  await fs.unlink(path);
  const freeAfter = await freeWhen(folder, (free) => free - freeFull >= half);
  return { bytes: pieces * MIB, seconds, freeBefore, freeFull, freeAfter };
}

async function freeWhen(folder: string, holds: (free: number) => boolean): Promise<number> {
  for (let look = 1; ; look += 1) {
    const free = await freeBytes(folder);
    if (holds(free) || look === LATER_LOOKS) return free;
    await pause(LATER_MS);
  }
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await fs.statfs(folder);
  return bavail * bsize;
}
