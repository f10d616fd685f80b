import { closeSync, constants, fstatSync, openSync, type BigIntStats } from 'node:fs';
import { SystemError } from './system-error.ts';

/** The root of every file system, in the words of the kernel. */
export const ROOT = 1;
// Node has no name for it: a descriptor that only stands for a place in the tree, whatever its mode.
const O_PATH = 0o10_000_000;

/** A file, folder or link that the kernel knows. */
export interface Inode {
  readonly id: number;
  /** Stands for it, also when it has been renamed or has no name any more. */
  readonly fd: number;
  readonly key: string;
  readonly store: Store;
  /** How often the kernel was told of it, less what it has forgotten. */
  lookups: number;
  /** Where it was seen last; undefined for the root. */
  place: Place | undefined;
}

export interface Place {
  readonly parent: Inode;
  readonly name: string;
}

/** One content that the volume may have; which one it has is changed under the processes that use it. */
export class Store {
  readonly folder: string;
  readonly root: Inode;

  /** Opens `folder` as it is now: what is mounted over it later is not seen. */
  constructor(folder: string) {
    this.folder = folder;
    const fd = openSync(folder, O_PATH | constants.O_DIRECTORY);
    this.root = { id: ROOT, fd, key: '', store: this, lookups: 1, place: undefined };
  }
}

/**
 * What the kernel knows by number, each held by a descriptor on the folder behind.
 *
 * Where the volume has another store, everything of the store before is stale, as the handles of an NFS server that
 * came back with other data; when the first store comes back, they are good again.
 */
export class InodeTable {
  readonly #inodes = new Map<number, Inode>();
  readonly #byKey = new Map<string, Inode>();
  #next = ROOT + 1;
  #store: Store;

  constructor(folder: string) {
    this.#store = new Store(folder);
  }

  get store(): Store {
    return this.#store;
  }

  exchange(store: Store): void {
    this.#store = store;
  }

  /** @throws {SystemError} ESTALE for what is not of the present store. */
  get(id: number): Inode {
    const inode = id === ROOT ? this.#store.root : this.#inodes.get(id);
    if (inode?.store !== this.#store) throw new SystemError('ESTALE');
    return inode;
  }

  /** The same without the look at the store: what is closed or told about must be found, however stale. */
  known(id: number): Inode | undefined {
    return id === ROOT ? this.#store.root : this.#inodes.get(id);
  }

  /** Finds `name` in a folder and counts that the kernel was told of it. */
  lookUp(parent: Inode, name: string): { inode: Inode; stats: BigIntStats } {
    const fd = openSync(childOf(parent, name), O_PATH | constants.O_NOFOLLOW);
    const stats = fstatSync(fd, { bigint: true });
    const key = `${stats.dev}:${stats.ino}`;
    const found = this.#byKey.get(key);
    if (found) closeSync(fd);
    const inode =
      found ?? this.#add({ id: this.#next++, fd, key, store: parent.store, lookups: 0, place: undefined });
    inode.lookups += 1;
    inode.place = { parent, name };
    return { inode, stats };
  }

  /** Tells that what was `name` in a folder has another place now. */
  moved(parent: Inode, name: string, place: Place): void {
    for (const inode of this.#inodes.values()) {
      if (inode.place?.parent === parent && inode.place.name === name) inode.place = place;
    }
  }

  forget(id: number, lookups: number): void {
    const inode = this.#inodes.get(id);
    if (inode === undefined) return;
    inode.lookups -= lookups;
    if (inode.lookups > 0) return;
    this.#inodes.delete(id);
    this.#byKey.delete(inode.key);
    closeSync(inode.fd);
  }

  #add(inode: Inode): Inode {
    this.#inodes.set(inode.id, inode);
    this.#byKey.set(inode.key, inode);
    return inode;
  }
}

/** A path that leads to the inode itself, by its descriptor. */
export function pathOf(inode: Inode): string {
  return `/proc/self/fd/${inode.fd}`;
}

/** A path of an entry of a folder. */
export function childOf(folder: Inode, name: string): string {
  return `${pathOf(folder)}/${name}`;
}

/** Its path on the volume, or that of an entry of it, with a slash in front: faults are told of it. */
export function volumePathOf({ place }: Inode, name?: string): string {
  const own = place === undefined ? '' : volumePathOf(place.parent, place.name);
  return name === undefined ? own || '/' : `${own}/${name}`;
}
