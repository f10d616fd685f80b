import { inParallel } from '../mount/in-parallel.ts';
import type { Volume } from '../mount/volume.ts';
import { sha256Of, type Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import type { ManifestEntry } from '../protocol/manifest.ts';
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

/** A file that is to be in the workspace: its line of the manifest, and how it gets to its place. */
export interface Placement {
  readonly entry: ManifestEntry;
  /** Durable but for the folder of `target`. */
  readonly put: (volume: Volume, target: string) => Promise<void>;
}

const LOOKS_AT_ONCE = 16;

/** Places bytes that came with the request. */
export function placeBytes(path: string, bytes: Buffer): Placement {
  return {
    entry: { path: entryPath(path), size: bytes.length, sha256: sha256Of(bytes) },
    put: (volume, target) => writeDurable(volume, target, bytes),
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
      entry: { path: entryPath(path), size: found.size, sha256: blob },
      put: (_volume, target) => blobs.copy(blob, target, 0o644),
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
      entry: { path: entryPath(`${folder}/${id}.${version}${extension}`), size, sha256: digest },
      put: (_volume, target) => blobs.place(digest, target),
    };
  });
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
