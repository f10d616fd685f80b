import type { Readable } from 'node:stream';
import type { Volume } from '../mount/volume.ts';
import { parseSha256, type Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import {
  parsePackageId,
  parsePackageVersion,
  type PackageId,
  type PackageVersion,
} from '../protocol/package-name.ts';
import { folderOf, isTemporary, readOnce, writeOnce } from './atomic-file.ts';
import { markUsed, type BlobStore, type Upload } from './blob-store.ts';

/** A version of a package: which blob it is, and how its file is called. */
export interface PackagePointer {
  readonly id: PackageId;
  readonly version: PackageVersion;
  readonly digest: Sha256;
  readonly size: number;
  /** With its dot, or ''. */
  readonly extension: string;
  readonly pushedAt: string;
}

export interface PackagePush extends Upload {
  readonly source: Readable;
  readonly extension: string;
  /** Create only: a version that is there already, with whatever bytes, is refused. */
  readonly ifNoneMatch?: boolean | undefined;
}

/** What a push wants of its version. */
type Claim = Pick<PackagePush, 'digest' | 'ifNoneMatch'>;

const MAX_POINTER_BYTES = 64 * 1024;

/** Names of packages: `packages/<id>/<version>` holds a pointer to a blob, written once and never changed. */
export class PackageStore {
  readonly #volume: Volume;
  readonly #blobs: BlobStore;

  constructor(volume: Volume, blobs: BlobStore) {
    this.#volume = volume;
    this.#blobs = blobs;
  }

  /** Finds a version whose bytes are there too; undefined where either is missing. */
  async find(id: PackageId, version: PackageVersion): Promise<PackagePointer | undefined> {
    const pointer = await this.#pointer(id, version);
    if (pointer === undefined || (await this.#blobs.find(pointer.digest)) === undefined) return undefined;
    await markUsed(this.#volume, this.#volume.layout.package(id, version));
    return pointer;
  }

  /** Lists the versions of a package, in the order of their names; empty where there is none. */
  async list(id: PackageId): Promise<PackagePointer[]> {
    const entries = (await this.#volume.list(this.#volume.layout.packageFolder(id))) ?? [];
    const names = entries.map(({ name }) => name).filter((name) => !isTemporary(name));
    const versions = names.map(parsePackageVersion).filter((version) => version !== undefined);
    const pointers: PackagePointer[] = [];
    for (const version of versions.sort()) {
      const pointer = await this.find(id, version);
      if (pointer) pointers.push(pointer);
    }
    return pointers;
  }

  /**
   * Takes a body and makes it this version; `created` is false where the version has these bytes already.
   *
   * Everything that can be known without the body is checked before `accept` is called and a byte is read. Of
   * concurrent pushes with different bytes, from several agents too, exactly one wins. Durable on return.
   *
   * @throws {Fault} PACKAGE_CONFLICT where the version has other bytes; PACKAGE_EXISTS with `ifNoneMatch`; and what
   * BlobStore.receive throws.
   */
  async push(
    id: PackageId,
    version: PackageVersion,
    push: PackagePush,
  ): Promise<{ pointer: PackagePointer; created: boolean }> {
    const { source, extension, ifNoneMatch, ...upload } = push;
    await this.#assertNoConflict(id, version, { digest: push.digest, ifNoneMatch });
    const { digest, size } = await this.#blobs.receive(source, {
      ...upload,
      // Again with the digest that is known now, so that bytes of a conflict never become a blob.
      judge: (arrived) => this.#assertNoConflict(id, version, { digest: arrived, ifNoneMatch }),
    });
    const pointer: PackagePointer = {
      id,
      version,
      digest,
      size,
      extension,
      pushedAt: new Date().toISOString(),
    };
    const created = await this.#publish(pointer);
    if (created) return { pointer, created };
    const first = await this.#pointer(id, version);
    if (first === undefined)
      throw new Fault('STORAGE_ERROR', `package ${id} ${version} vanished while it was pushed`);
    refuseConflict(first, { digest, ifNoneMatch });
    return { pointer: first, created };
  }

  async #assertNoConflict(id: PackageId, version: PackageVersion, push: Claim): Promise<void> {
    const present = await this.#pointer(id, version);
    if (present) refuseConflict(present, push);
  }

  async #publish(pointer: PackagePointer): Promise<boolean> {
    const path = this.#volume.layout.package(pointer.id, pointer.version);
    if (await this.#volume.makeFolder(folderOf(path)))
      await this.#volume.syncFolder(this.#volume.layout.packages);
    return writeOnce(this.#volume, path, Buffer.from(`${JSON.stringify(pointer)}\n`));
  }

  async #pointer(id: PackageId, version: PackageVersion): Promise<PackagePointer | undefined> {
    const path = this.#volume.layout.package(id, version);
    const bytes = await readOnce(this.#volume, path, MAX_POINTER_BYTES);
    if (bytes === undefined) return undefined;
    const pointer = parsePackagePointer(bytes.toString('utf8'));
    if (pointer?.id === id && pointer.version === version) return pointer;
    throw new Fault('STORAGE_ERROR', `${path} is not the pointer that an agent wrote`, { detail: { path } });
  }
}

function refuseConflict({ id, version, digest }: PackagePointer, push: Claim): void {
  const detail = { id, version, digest };
  if (push.ifNoneMatch === true) {
    throw new Fault('PACKAGE_EXISTS', `package ${id} ${version} exists with sha256 ${digest}`, { detail });
  }
  if (push.digest !== undefined && push.digest !== digest) {
    const message = `package ${id} ${version} exists with sha256 ${digest}, and the push has ${push.digest}; versions never change`;
    throw new Fault('PACKAGE_CONFLICT', message, { detail });
  }
}

/** Reads a pointer file; undefined for anything that this agent would not have written. */
export function parsePackagePointer(text: string): PackagePointer | undefined {
  const value = parseObject(text);
  const { id, version, digest, size, extension, pushedAt } = value;
  const strings = [id, version, digest, extension, pushedAt].every((member) => typeof member === 'string');
  if (!strings || !Number.isSafeInteger(size)) return undefined;
  const wellNamed =
    parsePackageId(String(id)) && parsePackageVersion(String(version)) && parseSha256(String(digest));
  // Every member was just checked against the type.
  return wellNamed && /^(\.[A-Za-z0-9]+)*$/.test(String(extension))
    ? (value as unknown as PackagePointer)
    : undefined;
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    // Not JSON is one way of not being a pointer, and the caller says so.
    return {};
  }
}
