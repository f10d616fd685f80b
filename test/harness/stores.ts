import type { Volume } from '../../src/mount/volume.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { BlobStore, type BlobStoreOptions } from '../../src/staging/blob-store.ts';
import { PackageStore } from '../../src/staging/package-store.ts';

const MIB = 1024 * 1024;

/** Stores with room for everything, unless the test takes it away. */
export function storesOn(
  volume: Volume,
  options: Partial<BlobStoreOptions> = {},
): { blobs: BlobStore; packages: PackageStore } {
  const blobs = new BlobStore(volume, {
    maxBytes: 64 * MIB,
    memoryBytes: 8 * MIB,
    minBytesPerSecond: 1,
    rateWindowMs: 60_000,
    reserveBytes: 0,
    maxUploads: 64,
    unknownLengthBytes: MIB,
    ...options,
  });
  return { blobs, packages: new PackageStore(volume, blobs) };
}

/** The code that `work` fails with; 'no error' where it does not, and the whole error where it has no code. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'no error',
    (error: unknown) => (error instanceof Fault ? error.code : String(error)),
  );
}
