import type { BigIntStats, StatsFsBase } from 'node:fs';

/**
 * The words of the FUSE protocol, as far as a pass-through needs them: little-endian structs of fixed layout.
 *
 * Source: include/uapi/linux/fuse.h of Linux 6.1, protocol 7.31; libfuse is not needed to speak it.
 */
export const PROTOCOL = { major: 7, minor: 31 } as const;

/** Opcodes that are answered here; any other one gets ENOSYS, after which the kernel does without. */
export const OPCODES = {
  1: 'lookup',
  2: 'forget',
  3: 'getattr',
  4: 'setattr',
  5: 'readlink',
  6: 'symlink',
  9: 'mkdir',
  10: 'unlink',
  11: 'rmdir',
  12: 'rename',
  13: 'link',
  14: 'open',
  15: 'read',
  16: 'write',
  17: 'statfs',
  18: 'release',
  20: 'fsync',
  25: 'flush',
  26: 'init',
  27: 'opendir',
  28: 'readdir',
  29: 'releasedir',
  30: 'fsyncdir',
  35: 'create',
  36: 'interrupt',
  38: 'destroy',
  42: 'forget-many',
  45: 'rename-with-flags',
} as const;
export type Opcode = (typeof OPCODES)[keyof typeof OPCODES];

/** What the kernel asks. */
export interface FuseRequest {
  readonly opcode: Opcode | 'unknown';
  /** Identity of the request, for its answer and its interruption. */
  readonly unique: bigint;
  readonly inode: number;
  readonly uid: number;
  readonly gid: number;
  /** The thread that waits; 0 where it is the kernel itself. */
  readonly pid: number;
  readonly body: Buffer;
}

const REQUEST_HEADER = 40;
const ANSWER_HEADER = 16;

/** Reads one request; its body is a copy, since `bytes` is read into again. */
export function parseRequest(bytes: Buffer): FuseRequest {
  const number = bytes.readUInt32LE(4);
  const known: Readonly<Record<number, Opcode>> = OPCODES;
  return {
    opcode: known[number] ?? 'unknown',
    unique: bytes.readBigUInt64LE(8),
    inode: numberAt(bytes, 16),
    uid: bytes.readUInt32LE(24),
    gid: bytes.readUInt32LE(28),
    pid: bytes.readUInt32LE(32),
    body: Buffer.from(bytes.subarray(REQUEST_HEADER, bytes.readUInt32LE(0))),
  };
}

/** Frames an answer; `errno` is positive, and 0 for success. */
export function answerFor(unique: bigint, errno: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(ANSWER_HEADER);
  header.writeUInt32LE(ANSWER_HEADER + body.length, 0);
  header.writeInt32LE(-errno, 4);
  header.writeBigUInt64LE(unique, 8);
  return Buffer.concat([header, body]);
}

/** A 64-bit number of ours or of a file: none is beyond 2^53. */
export function numberAt(bytes: Buffer, offset: number): number {
  return Number(bytes.readBigUInt64LE(offset));
}

/** The names at the end of a request, each closed by a NUL. */
export function namesAt(body: Buffer, offset: number): string[] {
  return body.subarray(offset).toString('utf8').split('\0').slice(0, -1);
}

/** The only features asked for: writes of more than a page, and folders that several processes read at once. */
const INIT_FLAGS = (1 << 5) | (1 << 18);
const INIT_ANSWER = 64;
/** 32 pages, which is what a kernel grants without FUSE_MAX_PAGES. */
export const MAX_WRITE_BYTES = 131_072;

export function initAnswer(): Buffer {
  const bytes = Buffer.alloc(INIT_ANSWER);
  bytes.writeUInt32LE(PROTOCOL.major, 0);
  bytes.writeUInt32LE(PROTOCOL.minor, 4);
  bytes.writeUInt32LE(INIT_FLAGS, 12);
  // Requests in the background beyond this wait in the kernel, which a hang must not make other ones do.
  bytes.writeUInt16LE(65_535, 16);
  bytes.writeUInt16LE(65_535, 18);
  bytes.writeUInt32LE(MAX_WRITE_BYTES, 20);
  bytes.writeUInt32LE(1, 24);
  return bytes;
}

/** Every validity is 0: nothing is cached, so that a fault is seen by the next call. */
export function entryAnswer(inode: number, stats: BigIntStats): Buffer {
  const head = Buffer.alloc(40);
  head.writeBigUInt64LE(BigInt(inode), 0);
  return Buffer.concat([head, attributes(stats)]);
}

export function attributesAnswer(stats: BigIntStats): Buffer {
  return Buffer.concat([Buffer.alloc(16), attributes(stats)]);
}

const DIRECT_IO = 1;

/** `direct` bypasses the page cache of the kernel: every read and write comes here. */
export function openAnswer(handle: number, direct: boolean): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(BigInt(handle), 0);
  bytes.writeUInt32LE(direct ? DIRECT_IO : 0, 8);
  return bytes;
}

export function writtenAnswer(count: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(count, 0);
  return bytes;
}

const LONGEST_NAME = 255;

export function spaceAnswer(space: StatsFsBase<bigint>): Buffer {
  const bytes = Buffer.alloc(80);
  const counts = [space.blocks, space.bfree, space.bavail, space.files, space.ffree];
  counts.forEach((count, index) => bytes.writeBigUInt64LE(count, index * 8));
  bytes.writeUInt32LE(Number(space.bsize), 40);
  bytes.writeUInt32LE(LONGEST_NAME, 44);
  bytes.writeUInt32LE(Number(space.bsize), 48);
  return bytes;
}

/** One name of a folder. `next` is the offset from which the kernel goes on reading. */
export function folderEntry(name: string, type: number, next: number): Buffer {
  const text = Buffer.from(name, 'utf8');
  const bytes = Buffer.alloc(24 + Math.ceil(text.length / 8) * 8);
  bytes.writeBigUInt64LE(UNKNOWN_INODE, 0);
  bytes.writeBigUInt64LE(BigInt(next), 8);
  bytes.writeUInt32LE(text.length, 16);
  bytes.writeUInt32LE(type, 20);
  text.copy(bytes, 24);
  return bytes;
}
/** As libfuse says where it has not looked; 0 would hide the entry. */
const UNKNOWN_INODE = 0xffff_ffffn;

function attributes(stats: BigIntStats): Buffer {
  const bytes = Buffer.alloc(88);
  const wide = [
    stats.ino,
    stats.size,
    stats.blocks,
    ...[stats.atimeNs, stats.mtimeNs, stats.ctimeNs].map(seconds),
  ];
  wide.forEach((value, index) => bytes.writeBigUInt64LE(BigInt.asUintN(64, value), index * 8));
  const times = [stats.atimeNs, stats.mtimeNs, stats.ctimeNs].map((ns) => ns - seconds(ns) * SECOND_NS);
  const narrow = [...times, stats.mode, stats.nlink, stats.uid, stats.gid, stats.rdev, stats.blksize];
  narrow.forEach((value, index) => bytes.writeUInt32LE(Number(value), 48 + index * 4));
  return bytes;
}
const SECOND_NS = 1_000_000_000n;

function seconds(ns: bigint): bigint {
  return ns / SECOND_NS;
}
