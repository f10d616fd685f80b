import { randomBytes } from 'node:crypto';
import { Fault } from '../protocol/fault.ts';
import type { Volume } from './volume.ts';

const EPOCH = /^[0-9a-f]{32}\n$/;
const MAX_EPOCH_BYTES = 1024;

/** Makes the folders of the layout where they are missing. The folder of the mount must be there. May be repeated. */
export async function ensureLayout(volume: Volume): Promise<void> {
  for (const folder of volume.layout.folders) await volume.makeFolder(folder);
  await volume.syncFolder(volume.layout.root);
}

/**
 * Reads the identity of the volume's content; undefined where there is none.
 *
 * Absence is evidence and not yet a proof: it is believed only while the volume answers otherwise.
 *
 * @throws {Fault} STORAGE_REPLACED where the file holds something that no agent wrote.
 */
export async function readEpoch(volume: Volume): Promise<string | undefined> {
  const path = volume.layout.epoch;
  const bytes = await volume.read(path, MAX_EPOCH_BYTES);
  if (bytes === undefined) return undefined;
  const text = bytes.toString('latin1');
  if (EPOCH.test(text)) return text.trimEnd();
  const message = `${path} does not hold an epoch, which is 32 hex digits and a line end`;
  throw new Fault('STORAGE_REPLACED', message, { detail: { path } });
}

/**
 * Finds the epoch, or makes one on a volume that has none. Agents that start at once all get the same one.
 *
 * The folder `identity/` is made beside its place and renamed onto it, which rename(2) refuses where that has an
 * epoch in it already: exclusive, whole, and without hard links. Run `ensureLayout` before.
 *
 * @throws {Fault} STORAGE_EMPTIED where there is none afterwards; STORAGE_REPLACED; other STORAGE_ codes.
 */
export async function findOrCreateEpoch(volume: Volume): Promise<string> {
  const found = await readEpoch(volume);
  if (found !== undefined) return found;
  await makeIdentity(volume);
  const epoch = await readEpoch(volume);
  if (epoch !== undefined) return epoch;
  const message = `${volume.layout.identity} holds other files and no epoch; if the volume is new, empty that folder`;
  throw new Fault('STORAGE_EMPTIED', message, { detail: { path: volume.layout.identity } });
}

async function makeIdentity(volume: Volume): Promise<void> {
  const made = volume.layout.temporaryIdentity(randomBytes(8).toString('hex'));
  await volume.makeFolder(made.folder);
  try {
    const file = await volume.create(made.epoch);
    if (file === undefined) throw new TypeError(`${made.epoch} is not fresh`);
    try {
      await file.write([Buffer.from(`${randomBytes(16).toString('hex')}\n`)], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await volume.syncFolder(made.folder);
    if (await volume.renameExclusive(made.folder, volume.layout.identity)) {
      await volume.syncFolder(volume.layout.root);
    }
  } finally {
    // Nothing is left of it where it was renamed.
    await volume.removeTree(made.folder);
  }
}
