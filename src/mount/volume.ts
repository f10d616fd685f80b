import { constants, promises as fs, type Dirent, type StatsFs } from 'node:fs';
import type { VolumeLayout } from '../protocol/volume-layout.ts';
import { BulkWriter, type BulkFile } from './bulk-writer.ts';
import { errnoOf, meaningOf } from './errno.ts';
import type { Passage } from './gate.ts';
import { removeTree } from './tree-removal.ts';
import { flushesWhole, flushWhole } from './whole-flush.ts';
import { factsOf, VolumeFile, type FileFacts } from './volume-file.ts';

export interface VolumeOptions {
  readonly gate: Passage;
  readonly layout: VolumeLayout;
  /** Deadline of fsync, and of close and removal of much, which are slow on a healthy volume too. */
  readonly slowDeadlineMs: number;
}

/**
 * The file operations of the volume, each of them one pass of the gate.
 *
 * Paths come from the layout and are absolute. Every rejection is a Fault with a STORAGE_ code; ENOENT and EEXIST are
 * answers where a method says so. Nothing is cached: another agent or a script may have changed what was there.
 */
export class Volume {
  readonly layout: VolumeLayout;
  readonly #gate: Passage;
  readonly #slowDeadlineMs: number;
  readonly #bulk: BulkWriter;

  constructor(options: VolumeOptions) {
    this.layout = options.layout;
    this.#gate = options.gate;
    this.#slowDeadlineMs = options.slowDeadlineMs;
    this.#bulk = new BulkWriter(options.gate, options.slowDeadlineMs);
  }

  /** Makes a folder; false where it exists already. Its parent exists. */
  async makeFolder(path: string, mode = 0o755): Promise<boolean> {
    return this.#unless('exists', false, 'mkdir', path, () => fs.mkdir(path, { mode }).then(() => true));
  }

  /** Opens a file for reading; undefined where there is none. Close it: an open file keeps its bytes on the volume. */
  async openToRead(path: string): Promise<VolumeFile | undefined> {
    const handle = await this.#open('absent', 'open', path, () => fs.open(path, READ_FLAGS));
    return handle && this.#file(handle, path);
  }

  /** Tells what is at `path`, by open and fstat: stat alone may answer from a cache. Undefined where nothing is. */
  async look(path: string): Promise<FileFacts | undefined> {
    return this.#unless('absent', undefined, 'look', path, async () => {
      const handle = await fs.open(path, READ_FLAGS);
      try {
        return factsOf(await handle.stat({ bigint: true }));
      } finally {
        await handle.close();
      }
    });
  }

  /** Creates a file for writing that must not exist (`wx`); undefined where it does. */
  async create(path: string, mode = 0o644): Promise<VolumeFile | undefined> {
    const handle = await this.#open('exists', 'create', path, () => fs.open(path, 'wx', mode));
    return handle && this.#file(handle, path);
  }

  /** Reads a file whole; undefined where there is none. @throws {RangeError} beyond `maxBytes`. */
  async read(path: string, maxBytes: number): Promise<Buffer | undefined> {
    const file = await this.openToRead(path);
    if (file === undefined) return undefined;
    try {
      return await file.readAll(maxBytes);
    } finally {
      await file.close();
    }
  }

  /** Lists a folder; undefined where there is none. */
  async list(path: string): Promise<Dirent[] | undefined> {
    return this.#unless('absent', undefined, 'readdir', path, () =>
      fs.readdir(path, { withFileTypes: true }),
    );
  }

  /** Renames; false where `from` is absent. @throws {Fault} STORAGE_ERROR where a folder with content is in the way. */
  async rename(from: string, to: string): Promise<boolean> {
    return this.#unless('absent', false, 'rename', from, () => fs.rename(from, to).then(() => true));
  }

  /** Renames a folder onto a name that must be free; false where something is there. Atomic and exclusive. */
  async renameExclusive(fromFolder: string, to: string): Promise<boolean> {
    return this.#unless('exists', false, 'rename', fromFolder, async () => {
      try {
        await fs.rename(fromFolder, to);
        return true;
      } catch (error) {
        // A file stands there: rename(2) calls that "not a folder".
        if (errnoOf(error) === ENOTDIR) return false;
        throw error;
      }
    });
  }

  /**
   * Makes a second name for a file: `made`, `exists` where the name is taken, `unsupported` where the file system has
   * no hard links or `from` has as many as it may have.
   */
  async link(from: string, to: string): Promise<'made' | 'exists' | 'unsupported'> {
    return this.#gate.run('link', to, async () => {
      try {
        await fs.link(from, to);
        return 'made';
      } catch (error) {
        if (meaningOf(error) === 'exists') return (await isSameFile(from, to)) ? 'made' : 'exists';
        if (NO_LINKS.has(errnoOf(error) ?? 0)) return 'unsupported';
        throw error;
      }
    });
  }

  /** Removes a file; false where there is none. */
  async remove(path: string): Promise<boolean> {
    return this.#unless('absent', false, 'unlink', path, () => fs.unlink(path).then(() => true));
  }

  /** Removes an empty folder; false where there is none or it is not empty. */
  async removeFolder(path: string): Promise<boolean> {
    const removed = () => this.#unless('absent', false, 'rmdir', path, () => fs.rmdir(path).then(() => true));
    return this.#unlessExists(removed);
  }

  /** Removes a folder and all that is in it, links not followed; nothing happens where there is none. */
  async removeTree(path: string): Promise<void> {
    await removeTree(this, path);
  }

  /** Sets modification time to now, so that the sweeper sees that something was used; false where there is none. */
  async touch(path: string): Promise<boolean> {
    return this.setTimes(path, new Date());
  }

  /** Sets access and modification time; false where there is none. */
  async setTimes(path: string, at: Date): Promise<boolean> {
    return this.#unless('absent', false, 'utimes', path, () => fs.utimes(path, at, at).then(() => true));
  }

  /** Changes the mode of a file. */
  async changeMode(path: string, mode: number): Promise<void> {
    await this.#gate.run('chmod', path, () => fs.chmod(path, mode));
  }

  /** Makes the entries of a folder durable. Source: fsync(2), "calling fsync() does not necessarily ensure that the entry in the directory has reached disk". */
  async syncFolder(path: string): Promise<void> {
    await this.syncFile(path);
  }

  /** Makes the bytes of a closed file durable, whoever wrote them; an error since it was last open is told too. */
  async syncFile(path: string): Promise<void> {
    const sync = async (): Promise<void> => {
      const handle = await fs.open(path, 'r');
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    };
    await this.#gate.run('fsync', path, sync, { deadlineMs: this.#slowDeadlineMs });
  }

  /** Writes many small files, each fresh; durable only after `flushWhole`, or an fsync of each. */
  async writeMany(files: Iterable<BulkFile>): Promise<void> {
    await this.#bulk.write(files);
  }

  /** Tells whether `flushWhole` is the cheap way here to make many files durable. */
  async flushesWhole(): Promise<boolean> {
    const { root } = this.layout;
    return flushesWhole((await this.#gate.run('statfs', root, () => fs.statfs(root))).type);
  }

  /** Makes all files and folders of the file system durable at once; false where it cannot: then sync each. */
  async flushWhole(): Promise<boolean> {
    const { root } = this.layout;
    const deadlineMs = this.#slowDeadlineMs;
    return this.#gate.run('syncfs', root, () => flushWhole(root, deadlineMs), { deadlineMs });
  }

  /** Free and total bytes as the file system tells them; on some they are those of the server's whole disk. */
  async space(): Promise<{ freeBytes: number; totalBytes: number }> {
    const root = this.layout.root;
    const { bavail, blocks, bsize }: StatsFs = await this.#gate.run('statfs', root, () => fs.statfs(root));
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  }

  /** Where the root really lies, without links: a mount is found by that. */
  async realRoot(): Promise<string> {
    const { root } = this.layout;
    return this.#gate.run('realpath', root, () => fs.realpath(root));
  }

  #file(handle: fs.FileHandle, path: string): VolumeFile {
    return new VolumeFile({ gate: this.#gate, handle, path, slowDeadlineMs: this.#slowDeadlineMs });
  }

  /** A file that is opened after its caller gave up is closed again. */
  async #open(
    expected: 'absent' | 'exists',
    operation: string,
    path: string,
    open: () => Promise<fs.FileHandle>,
  ): Promise<fs.FileHandle | undefined> {
    try {
      return await this.#gate.run(operation, path, open, { late: (handle) => handle.close() });
    } catch (error) {
      if (meaningOf(error) === expected) return undefined;
      throw error;
    }
  }

  async #unless<T, E>(
    expected: 'absent' | 'exists',
    answer: E,
    ...[operation, path, work]: [operation: string, path: string, work: () => Promise<T>]
  ): Promise<T | E> {
    try {
      return await this.#gate.run(operation, path, work);
    } catch (error) {
      if (meaningOf(error) === expected) return answer;
      throw error;
    }
  }

  async #unlessExists(removed: () => Promise<boolean>): Promise<boolean> {
    try {
      return await removed();
    } catch (error) {
      if (meaningOf(error) === 'exists') return false;
      throw error;
    }
  }
}

// O_NONBLOCK: a script may have put a FIFO in its out/ folder, and opening one for reading waits for a writer.
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** EPERM, EMLINK, ENOSYS, EOPNOTSUPP: what link(2) says on file systems without hard links. */
const NO_LINKS: ReadonlySet<number> = new Set([1, 31, 38, 95]);
const ENOTDIR = 20;

/** NFS may send a LINK twice and tell of EEXIST although the first one made the name. */
async function isSameFile(from: string, to: string): Promise<boolean> {
  try {
    const [left, right] = await Promise.all([fs.lstat(from), fs.lstat(to)]);
    return left.ino === right.ino && left.dev === right.dev;
  } catch (error) {
    // Whoever was there first has removed it meanwhile: then it was theirs.
    if (meaningOf(error) === 'absent') return false;
    throw error;
  }
}
