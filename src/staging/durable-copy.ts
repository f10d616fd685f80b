import { Fault } from '../protocol/fault.ts';
import type { Volume } from '../mount/volume.ts';
import type { VolumeFile } from '../mount/volume-file.ts';

const PIECE_BYTES = 1024 * 1024;

/**
 * Copies a file to a fresh name, fsynced and closed; false where `from` is absent. An error leaves no copy.
 *
 * In pieces, so that a copy of any size passes the gate within its deadline, and with memory of one piece.
 */
export async function copyDurable(volume: Volume, from: string, to: string, mode: number): Promise<boolean> {
  const source = await volume.openToRead(from);
  if (source === undefined) return false;
  try {
    const target = await volume.create(to, 0o600);
    if (target === undefined) throw new Fault('STORAGE_ERROR', `cannot create ${to}: the name is taken`);
    try {
      await copyBytes(source, target);
      await target.changeMode(mode);
      await target.sync();
    } catch (error) {
      // The first error is the one to tell; what cannot be removed is left to the sweeper.
      await target.close().catch(() => undefined);
      await volume.remove(to).catch(() => undefined);
      throw error;
    }
    await target.close();
  } finally {
    await source.close();
  }
  return true;
}

async function copyBytes(source: VolumeFile, target: VolumeFile): Promise<void> {
  for (let at = 0; ;) {
    const piece = await source.readAt(at, PIECE_BYTES);
    if (piece.length === 0) return;
    await target.write([piece], at);
    at += piece.length;
  }
}
