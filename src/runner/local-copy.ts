import { promises as fs } from 'node:fs';
import { constants } from 'node:os';
import { Fault } from '../protocol/fault.ts';
import type { Manifest } from '../protocol/manifest.ts';
import type { RelativePath } from '../protocol/relative-path.ts';
import type { WorkspaceLayout } from '../protocol/volume-layout.ts';

const { errno } = constants;
const NO_ROOM: readonly number[] = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG];

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o644;
const PACKAGE_MODE = 0o444;
/** A file takes whole blocks. */
const BLOCK_BYTES = 4096;

/** A file of the copy while it is written. */
export interface CopiedFile {
  /** Takes the next bytes; they are used up when it settles. */
  write(part: Buffer): Promise<void>;
  close(): Promise<void>;
}

/**
 * What was staged, on local disk, where a copied script works.
 *
 * Not synced: a machine that loses power loses the script too. Bytes come as they are verified, so that the volume is
 * read once; what is copied of a file that turns out to be another one never runs.
 */
export class LocalCopy {
  readonly #places: WorkspaceLayout;
  readonly #maxBytes: number;
  readonly #folders = new Map<string, Promise<unknown>>();

  constructor(places: WorkspaceLayout, maxBytes: number) {
    this.#places = places;
    this.#maxBytes = maxBytes;
  }

  /** Makes the folders of the script. @throws {Fault} STAGING_DISK_FULL where what is staged has no room, by limit or disk. */
  async begin({ entries }: Manifest): Promise<void> {
    const { root, files, packages, artifacts } = this.#places;
    for (const folder of [files, packages, artifacts]) await this.#makeFolder(folder);
    const bytes = entries.reduce((sum, { size }) => sum + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES, 0);
    const needs = `${entries.length} files that take ${bytes} bytes are staged`;
    if (bytes > this.#maxBytes) {
      const rule = `a copied script may take ${this.#maxBytes} bytes of it (copyMaxBytes)`;
      throw new Fault('STAGING_DISK_FULL', `no room on the local disk at ${root}: ${needs}, and ${rule}`);
    }
    const free = await this.#freeBytes();
    if (bytes > free)
      throw new Fault(
        'STAGING_DISK_FULL',
        `no room on the local disk at ${root}: ${needs}, and ${free} are free`,
      );
  }

  /** Opens the place of an entry, in place of what an earlier attempt left there. @throws {Fault} STAGING_DISK_FULL, RUNNER_FAILED. */
  async open(path: RelativePath): Promise<CopiedFile> {
    const place = this.#places.entry(path);
    const mode = place.startsWith(`${this.#places.packages}/`) ? PACKAGE_MODE : FILE_MODE;
    await this.#makeFolder(place.slice(0, place.lastIndexOf('/')));
    const handle = await onDisk('open', place, async () => {
      await fs.rm(place, { force: true });
      return fs.open(place, 'wx', mode);
    });
    return {
      write: (part) => onDisk('write', place, () => handle.writeFile(part)),
      close: () => onDisk('close', place, () => handle.close()),
    };
  }

  #makeFolder(folder: string): Promise<unknown> {
    const made =
      this.#folders.get(folder) ??
      onDisk('make', folder, () => fs.mkdir(folder, { recursive: true, mode: FOLDER_MODE }));
    this.#folders.set(folder, made);
    return made;
  }

  async #freeBytes(): Promise<number> {
    const { root } = this.#places;
    const { bavail, bsize } = await onDisk('ask', root, () => fs.statfs(root));
    return bavail * bsize;
  }
}

/** Turns the errors of the local disk into faults that name it; they are none of the volume. */
export async function onDisk<T>(operation: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const number = error instanceof Error && 'errno' in error ? Math.abs(Number(error.errno)) : 0;
    const code = NO_ROOM.includes(number) ? 'STAGING_DISK_FULL' : 'RUNNER_FAILED';
    const text = error instanceof Error ? error.message : String(error);
    throw new Fault(code, `cannot ${operation} ${path} on the local disk: ${text}`, { cause: error });
  }
}
