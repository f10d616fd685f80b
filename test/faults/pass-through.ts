import * as fs from 'node:fs';
import { promisify } from 'node:util';
import type { FaultRules, Operation } from './fault-rules.ts';
import * as wire from './fuse-wire.ts';
import { childOf, pathOf, volumePathOf, type Inode, type InodeTable } from './inode-table.ts';
import { SystemError } from './system-error.ts';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_TRUNC, O_DIRECT } = fs.constants;
const [read, write, fsync] = [promisify(fs.read), promisify(fs.write), promisify(fs.fsync)];

/** Bits of `valid` in a change of attributes. */
const CHANGE = {
  mode: 1,
  uid: 2,
  gid: 4,
  size: 8,
  atime: 16,
  mtime: 32,
  handle: 64,
  atimeNow: 128,
  mtimeNow: 256,
};
const KINDS = { folder: 4, file: 8, link: 10, other: 0 } as const;
const NOREPLACE = 1;
/** O_ACCMODE. */
const ACCESS = 3;

type Asked = wire.FuseRequest;
type Answered = Buffer | Promise<Buffer>;
const nothing = Buffer.alloc(0);

/**
 * The calls of a volume, made on the folder behind it as they come, after its faults have been asked.
 *
 * Calls that change or name things are synchronous: two of them never see each other half-done. Bytes and fsync go
 * through the thread pool, so that a slow disk holds up nobody else.
 */
export class PassThrough {
  readonly inodes: InodeTable;
  readonly #faults: FaultRules;
  readonly #files = new Map<number, OpenFile>();
  readonly #listings = new Map<number, readonly fs.Dirent[]>();
  #nextHandle = 1;

  constructor(inodes: InodeTable, faults: FaultRules) {
    this.inodes = inodes;
    this.#faults = faults;
  }

  /** Answers one request; undefined where the kernel wants no answer. @throws the error of the call */
  async answer(asked: Asked): Promise<Buffer | undefined> {
    const { opcode, body } = asked;
    if (opcode === 'forget') this.inodes.forget(asked.inode, wire.numberAt(body, 0));
    if (opcode === 'forget-many') this.#forgetMany(body);
    if (opcode === 'interrupt') this.#faults.interrupted(body.readBigUInt64LE(0));
    if (opcode === 'forget' || opcode === 'forget-many' || opcode === 'interrupt') return undefined;
    if (opcode === 'init') return wire.initAnswer();
    if (opcode === 'release') return this.#release(body);
    if (opcode === 'releasedir') return this.#releaseFolder(body);
    if (opcode === 'destroy') return nothing;
    if (opcode === 'unknown') throw new SystemError('ENOSYS');
    // Of a file that was only read, no file system tells an error at close(2).
    if (opcode === 'flush' && !this.#file(body).isWritable) return nothing;
    const { operation, paths } = this.#described(asked, opcode);
    await this.#faults.pass({ unique: asked.unique, pid: asked.pid, operation, paths });
    return this.#calls[opcode](asked);
  }

  readonly #calls: Readonly<Record<Exclude<wire.Opcode, Unfaulted>, (asked: Asked) => Answered>> = {
    lookup: ({ inode, body }) => this.#entry(inode, nameIn(body, 0)),
    getattr: ({ inode }) => wire.attributesAnswer(statsOf(this.inodes.get(inode))),
    setattr: (asked) => this.#setAttributes(asked),
    readlink: ({ inode }) => Buffer.from(fs.readlinkSync(this.#placeOf(inode), 'utf8')),
    symlink: (asked) => {
      const [name = '', target = ''] = wire.namesAt(asked.body, 0);
      return this.#made(asked, name, (path) => fs.symlinkSync(target, path));
    },
    mkdir: (asked) =>
      this.#made(asked, nameIn(asked.body, 8), (path) =>
        fs.mkdirSync(path, { mode: asked.body.readUInt32LE(0) & 0o7777 }),
      ),
    unlink: ({ inode, body }) => done(fs.unlinkSync(childOf(this.inodes.get(inode), nameIn(body, 0)))),
    rmdir: ({ inode, body }) => done(fs.rmdirSync(childOf(this.inodes.get(inode), nameIn(body, 0)))),
    rename: ({ inode, body }) => this.#rename(inode, wire.numberAt(body, 0), wire.namesAt(body, 8), 0),
    'rename-with-flags': ({ inode, body }) =>
      this.#rename(inode, wire.numberAt(body, 0), wire.namesAt(body, 16), body.readUInt32LE(8)),
    link: (asked) => this.#link(asked),
    open: ({ inode, body }) => this.#opened(this.inodes.get(inode), body.readUInt32LE(0)),
    create: (asked) => this.#create(asked),
    read: ({ body }) => this.#read(body),
    write: ({ body }) => this.#write(body),
    flush: ({ body }) => done(this.#file(body)),
    fsync: async ({ body }) => done(await fsync(this.#file(body).fd)),
    opendir: ({ inode }) => this.#openFolder(this.inodes.get(inode)),
    readdir: ({ body }) => this.#list(body),
    fsyncdir: ({ inode }) => this.#syncFolder(this.inodes.get(inode)),
    statfs: ({ inode }) => wire.spaceAnswer(fs.statfsSync(pathOf(this.inodes.get(inode)), { bigint: true })),
  };

  /** What a request is for whoever writes faults: its operation, and its paths on the volume. */
  #described(
    { inode, body }: Asked,
    opcode: Exclude<wire.Opcode, Unfaulted>,
  ): { operation: Operation; paths: string[] } {
    const own = this.inodes.known(inode);
    const path = (name?: string): string => (own === undefined ? '/' : volumePathOf(own, name));
    switch (opcode) {
      case 'lookup':
      case 'unlink':
      case 'rmdir':
      case 'symlink':
        return { operation: opcode, paths: [path(wire.namesAt(body, 0)[0])] };
      case 'mkdir':
      case 'link':
        return { operation: opcode, paths: [path(nameIn(body, 8))] };
      case 'create':
        return { operation: opcode, paths: [path(nameIn(body, 16))] };
      case 'rename':
      case 'rename-with-flags': {
        const [from, to = ''] = wire.namesAt(body, opcode === 'rename' ? 8 : 16);
        const folder = this.inodes.known(wire.numberAt(body, 0));
        return { operation: 'rename', paths: [path(from), ...(folder ? [volumePathOf(folder, to)] : [])] };
      }
      case 'setattr':
        return { operation: changeOf(body.readUInt32LE(0)), paths: [path()] };
      case 'opendir':
        return { operation: 'readdir', paths: [path()] };
      default:
        return { operation: opcode, paths: [path()] };
    }
  }

  #entry(parent: number, name: string): Buffer {
    const { inode, stats } = this.inodes.lookUp(this.inodes.get(parent), name);
    return wire.entryAnswer(inode.id, stats);
  }

  /** What is made belongs to who asked, and not to this process. */
  #made({ inode, uid, gid }: Asked, name: string, make: (path: string) => void): Buffer {
    const path = childOf(this.inodes.get(inode), name);
    make(path);
    fs.lchownSync(path, uid, gid);
    return this.#entry(inode, name);
  }

  #setAttributes({ inode: id, body }: Asked): Buffer {
    const inode = this.inodes.get(id);
    const [path, valid] = [pathOf(inode), body.readUInt32LE(0)];
    const has = (bit: number): boolean => (valid & bit) !== 0;
    if (has(CHANGE.size)) {
      if (has(CHANGE.handle))
        fs.ftruncateSync(this.#handle(wire.numberAt(body, 8)).fd, wire.numberAt(body, 16));
      else fs.truncateSync(path, wire.numberAt(body, 16));
    }
    if (has(CHANGE.uid | CHANGE.gid)) {
      fs.chownSync(
        path,
        has(CHANGE.uid) ? body.readUInt32LE(76) : -1,
        has(CHANGE.gid) ? body.readUInt32LE(80) : -1,
      );
    }
    if (has(CHANGE.mode)) fs.chmodSync(path, body.readUInt32LE(68) & 0o7777);
    if (has(CHANGE.atime | CHANGE.mtime)) setTimes(inode, body, valid);
    return wire.attributesAnswer(statsOf(inode));
  }

  #rename(from: number, to: number, [oldName = '', newName = '']: string[], flags: number): Buffer {
    const target = childOf(this.inodes.get(to), newName);
    if ((flags & ~NOREPLACE) !== 0) throw new SystemError('EINVAL');
    if (flags === NOREPLACE && fs.lstatSync(target, { throwIfNoEntry: false }))
      throw new SystemError('EEXIST');
    fs.renameSync(childOf(this.inodes.get(from), oldName), target);
    this.inodes.moved(this.inodes.get(from), oldName, { parent: this.inodes.get(to), name: newName });
    return nothing;
  }

  #link({ inode, body }: Asked): Buffer {
    const name = nameIn(body, 8);
    fs.linkSync(this.#placeOf(wire.numberAt(body, 0)), childOf(this.inodes.get(inode), name));
    return this.#entry(inode, name);
  }

  #opened(inode: Inode, flags: number): Buffer {
    // Its path is a symbolic link of /proc, and the file is there: what looked for it or made it has done so before.
    const fd = fs.openSync(pathOf(inode), flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW | O_TRUNC | O_DIRECT));
    return wire.openAnswer(
      this.#keep({ fd, inode, isWritable: (flags & ACCESS) !== fs.constants.O_RDONLY }),
      true,
    );
  }

  #create({ inode: parent, uid, gid, body }: Asked): Buffer {
    const [name, flags] = [nameIn(body, 16), body.readUInt32LE(0)];
    const folder = this.inodes.get(parent);
    const path = childOf(folder, name);
    const fresh = fs.lstatSync(path, { throwIfNoEntry: false }) === undefined;
    const fd = fs.openSync(path, (flags | O_CREAT | O_NOFOLLOW) & ~O_DIRECT, body.readUInt32LE(4) & 0o7777);
    if (fresh) fs.fchownSync(fd, uid, gid);
    const { inode, stats } = this.inodes.lookUp(folder, name);
    return Buffer.concat([
      wire.entryAnswer(inode.id, stats),
      wire.openAnswer(
        this.#keep({ fd, inode, isWritable: (flags & ACCESS) !== fs.constants.O_RDONLY }),
        true,
      ),
    ]);
  }

  async #read(body: Buffer): Promise<Buffer> {
    const bytes = Buffer.alloc(body.readUInt32LE(16));
    const { bytesRead } = await read(this.#file(body).fd, bytes, 0, bytes.length, wire.numberAt(body, 8));
    return bytes.subarray(0, bytesRead);
  }

  async #write(body: Buffer): Promise<Buffer> {
    const bytes = body.subarray(40, 40 + body.readUInt32LE(16));
    const { bytesWritten } = await write(this.#file(body).fd, bytes, 0, bytes.length, wire.numberAt(body, 8));
    return wire.writtenAnswer(bytesWritten);
  }

  #openFolder(inode: Inode): Buffer {
    fs.accessSync(pathOf(inode));
    const handle = this.#nextHandle++;
    this.#listings.set(handle, fs.readdirSync(pathOf(inode), { withFileTypes: true }));
    return wire.openAnswer(handle, false);
  }

  #list(body: Buffer): Buffer {
    const [listing, size] = [this.#listings.get(wire.numberAt(body, 0)) ?? [], body.readUInt32LE(16)];
    const parts: Buffer[] = [];
    let length = 0;
    for (let index = wire.numberAt(body, 8); index < listing.length + 2; index += 1) {
      const entry = listing[index - 2];
      const name = entry?.name ?? (index === 0 ? '.' : '..');
      const part = wire.folderEntry(name, entry ? kindOf(entry) : KINDS.folder, index + 1);
      length += part.length;
      if (length > size) break;
      parts.push(part);
    }
    return Buffer.concat(parts);
  }

  async #syncFolder(inode: Inode): Promise<Buffer> {
    const fd = fs.openSync(pathOf(inode), 'r');
    try {
      return done(await fsync(fd));
    } finally {
      fs.closeSync(fd);
    }
  }

  #keep(file: OpenFile): number {
    const handle = this.#nextHandle++;
    this.#files.set(handle, file);
    return handle;
  }

  /** @throws {SystemError} ESTALE where its file is of another store than the volume has now. */
  #file(body: Buffer): OpenFile {
    return this.#handle(wire.numberAt(body, 0));
  }

  #handle(handle: number): OpenFile {
    const file = this.#files.get(handle);
    if (file?.inode.store !== this.inodes.store) throw new SystemError('ESTALE');
    return file;
  }

  #placeOf(id: number): string {
    const { place } = this.inodes.get(id);
    if (place === undefined) throw new SystemError('EINVAL');
    return childOf(place.parent, place.name);
  }

  #release(body: Buffer): Buffer {
    const handle = wire.numberAt(body, 0);
    const file = this.#files.get(handle);
    this.#files.delete(handle);
    if (file) fs.closeSync(file.fd);
    return nothing;
  }

  #releaseFolder(body: Buffer): Buffer {
    this.#listings.delete(wire.numberAt(body, 0));
    return nothing;
  }

  #forgetMany(body: Buffer): void {
    for (let index = 0; index < body.readUInt32LE(0); index += 1) {
      this.inodes.forget(wire.numberAt(body, 8 + index * 16), wire.numberAt(body, 16 + index * 16));
    }
  }
}

interface OpenFile {
  readonly fd: number;
  readonly inode: Inode;
  readonly isWritable: boolean;
}

/** Opcodes of the kernel's own affairs, which no fault touches. */
type Unfaulted = 'forget' | 'forget-many' | 'interrupt' | 'init' | 'release' | 'releasedir' | 'destroy';

function nameIn(body: Buffer, offset: number): string {
  return wire.namesAt(body, offset)[0] ?? '';
}

function statsOf(inode: Inode): fs.BigIntStats {
  return fs.fstatSync(inode.fd, { bigint: true });
}

function kindOf(entry: fs.Dirent): number {
  if (entry.isFile()) return KINDS.file;
  if (entry.isDirectory()) return KINDS.folder;
  return entry.isSymbolicLink() ? KINDS.link : KINDS.other;
}

function changeOf(valid: number): Operation {
  if (valid & CHANGE.size) return 'truncate';
  if (valid & CHANGE.mode) return 'chmod';
  return valid & (CHANGE.uid | CHANGE.gid) ? 'chown' : 'utimens';
}

/** To the microsecond, which is what Node can set. */
function setTimes(inode: Inode, body: Buffer, valid: number): void {
  const { atimeNs, mtimeNs } = statsOf(inode);
  const time = (set: number, now: number, [offset, nsOffset]: [number, number], before: bigint): number => {
    if (valid & now) return Date.now() / 1000;
    if (valid & set) return wire.numberAt(body, offset) + body.readUInt32LE(nsOffset) / 1e9;
    return Number(before) / 1e9;
  };
  const atime = time(CHANGE.atime, CHANGE.atimeNow, [32, 56], atimeNs);
  fs.utimesSync(pathOf(inode), atime, time(CHANGE.mtime, CHANGE.mtimeNow, [40, 60], mtimeNs));
}

/** The empty answer of a call that has been made. */
function done(_: unknown): Buffer {
  return nothing;
}
