import { meaningOf } from '../mount/errno.ts';
import { inParallel } from '../mount/in-parallel.ts';
import type { BulkFile } from '../mount/bulk-writer.ts';
import type { Volume } from '../mount/volume.ts';
import { sha256Of, type Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import type { PackageId, PackageVersion } from '../protocol/package-name.ts';
import { parseRelativePath, RELATIVE_PATH_RULE, type RelativePath } from '../protocol/relative-path.ts';
import { writeDurable } from './atomic-file.ts';
import { blobMissing, type BlobStore } from './blob-store.ts';
import type { PackageStore } from './package-store.ts';

/** A file of the working directory: its bytes, or the blob that has them. */
export type PlannedFile =
  | { readonly path: RelativePath; readonly content: Buffer }
  | { readonly path: RelativePath; readonly blob: Sha256 };

export interface PlannedPackage {
  readonly id: PackageId;
  readonly version: PackageVersion;
}

export interface Stores {
  readonly blobs: BlobStore;
  readonly packages: PackageStore;
}

/** A file that is to be in the workspace: what the manifest says of it, and how it gets to its place. */
export interface Placement {
  readonly path: RelativePath;
  readonly size: number;
  /** Hashes at the first call. */
  readonly digest: () => Sha256;
  /** Durable but for the folder of `target`. */
  readonly put: (volume: Volume, target: string) => Promise<void>;
  /** What a small file is made of, where it can be written in one go with others. */
  readonly small?: BulkFile['content'];
}

const LOOKS_AT_ONCE = 16;
/** Parallel fsyncs share a commit of the journal; more than these only wait for the same disk. */
const FILES_AT_ONCE = 16;
const FILE_MODE = 0o644;
const SMALL_BYTES = 256 * 1024;
/** From so many small files on, one flush of the file system is cheaper than an fsync of each. */
const MANY = 256;

/** Places bytes that came with the request. */
export function placeBytes(path: string, bytes: Buffer): Placement {
  let digest: Sha256 | undefined;
  return {
    path: entryPath(path),
    size: bytes.length,
    digest: () => (digest ??= sha256Of(bytes)),
    put: (volume, target) => writeDurable(volume, target, bytes, FILE_MODE),
    ...(bytes.length <= SMALL_BYTES && { small: bytes }),
  };
}

/** Finds what the files of the working directory are made of. @throws {Fault} BLOB_MISSING, PATH_INVALID. */
export async function placeFiles(
  { blobs }: Stores,
  folder: string,
  files: readonly PlannedFile[],
): Promise<Placement[]> {
  return mapInParallel(files, async (file) => {
    const path = `${folder}/${file.path}`;
    if ('content' in file) return placeBytes(path, file.content);
    const { blob } = file;
    const found = await blobs.find(blob);
    if (found === undefined) throw blobMissing(blob);
    // A copy and never a second name: the script may write to it.
    return {
      path: entryPath(path),
      size: found.size,
      digest: () => blob,
      put: (_volume, target) => blobs.copy(blob, target, FILE_MODE),
      ...(found.size <= SMALL_BYTES && { small: { from: blobs.pathOf(blob) } }),
    };
  });
}

/** Finds the packages; their files are called `<id>.<version><extension>`. @throws {Fault} PACKAGE_MISSING. */
export async function placePackages(
  { blobs, packages }: Stores,
  folder: string,
  planned: readonly PlannedPackage[],
): Promise<Placement[]> {
  return mapInParallel(planned, async ({ id, version }) => {
    const pointer = await packages.find(id, version);
    if (pointer === undefined) {
      const message = `there is no package ${id} ${version}; push it first`;
      throw new Fault('PACKAGE_MISSING', message, { detail: { id, version } });
    }
    const { digest, size, extension } = pointer;
    return {
      path: entryPath(`${folder}/${id}.${version}${extension}`),
      size,
      digest: () => digest,
      put: (_volume, target) => blobs.place(digest, target),
    };
  });
}

/**
 * Puts all to their places below a fresh folder; durable but for the folders. `pathOf` tells the place of an entry.
 *
 * @throws {Fault} BLOB_MISSING where one was removed since it was found; STORAGE_ codes.
 */
export async function putAll(
  volume: Volume,
  placements: readonly Placement[],
  pathOf: (path: RelativePath) => string,
): Promise<void> {
  const small = placements.filter((placement) => placement.small !== undefined);
  const together = small.length >= MANY && (await volume.flushesWhole());
  const single = together ? placements.filter((placement) => placement.small === undefined) : placements;
  await inParallel(single, FILES_AT_ONCE, ({ path, put }) => put(volume, pathOf(path)));
  if (!together) return;
  try {
    await volume.writeMany(bulkFiles(small, pathOf));
  } catch (error) {
    throw meaningOf(error) === 'absent' ? await missingAmong(volume, small, error) : error;
  }
  if (await volume.flushWhole()) return;
  await inParallel(small, FILES_AT_ONCE, ({ path }) => volume.syncFile(pathOf(path)));
}

function* bulkFiles(
  small: readonly Placement[],
  pathOf: (path: RelativePath) => string,
): Generator<BulkFile> {
  for (const placement of small) {
    // Hashed here, while the threads write what was handed to them before.
    placement.digest();
    if (placement.small) yield { path: pathOf(placement.path), mode: FILE_MODE, content: placement.small };
  }
}

/** Tells which blob it was that a copy did not find; the error itself where all are there. */
async function missingAmong(volume: Volume, small: readonly Placement[], error: unknown): Promise<unknown> {
  for (const { small: content, digest } of small) {
    if (content === undefined || content instanceof Uint8Array) continue;
    if ((await volume.look(content.from)) === undefined) return blobMissing(digest(), error);
  }
  return error;
}

function entryPath(path: string): RelativePath {
  const entry = parseRelativePath(path);
  if (entry !== undefined) return entry;
  const message = `${JSON.stringify(path.slice(0, 200))} is not ${RELATIVE_PATH_RULE}`;
  throw new Fault('PATH_INVALID', message, { detail: { path } });
}

async function mapInParallel<T>(
  items: readonly T[],
  map: (item: T) => Promise<Placement>,
): Promise<Placement[]> {
  const mapped = new Map<number, Placement>();
  await inParallel(items.entries(), LOOKS_AT_ONCE, async ([index, item]) =>
    mapped.set(index, await map(item)),
  );
  return items
    .keys()
    .map((index) => mapped.get(index))
    .filter((placement) => placement !== undefined)
    .toArray();
}
