import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import type { Witness } from '../executor.ts';

export interface LogSpoolOptions {
  /** A file takes appends until it has so many bytes. @default 16 MiB */
  readonly segmentBytes?: number;
  /** Files that are kept, at least 2: the last one and what is before it. @default 2 */
  readonly maxSegments?: number;
}

/** A file of the spool: where its first byte stands in the whole. */
interface Segment {
  readonly base: number;
  readonly path: string;
}

const NAME_DIGITS = 16;

/**
 * The last part of a log, on local disk: some files of which the oldest goes when there are too many.
 *
 * Positions count from the first byte that was ever appended and go on growing. It is a cache and nothing is synced:
 * it begins empty, the log is read again from the cluster, and what nobody has any more is on the volume.
 */
export class LogSpool {
  readonly #folder: string;
  readonly #segmentBytes: number;
  readonly #maxSegments: number;
  readonly #segments: Segment[] = [];
  #size = 0;
  #file: fs.FileHandle | undefined;

  private constructor(folder: string, options: LogSpoolOptions) {
    const { segmentBytes = 16 * 1024 * 1024, maxSegments = 2 } = options;
    if (segmentBytes < 1 || maxSegments < 2)
      throw new RangeError('a spool has at least 2 segments of a byte');
    this.#folder = folder;
    this.#segmentBytes = segmentBytes;
    this.#maxSegments = maxSegments;
  }

  /** Makes an empty spool in `folder`, which is its own: whatever is there is removed. */
  static async open(folder: string, options: LogSpoolOptions = {}): Promise<LogSpool> {
    const spool = new LogSpool(folder, options);
    await fs.rm(folder, { recursive: true, force: true });
    await fs.mkdir(folder, { recursive: true, mode: 0o700 });
    return spool;
  }

  /** The first position that is still there, always the start of an append. */
  get start(): number {
    return this.#segments[0]?.base ?? 0;
  }

  /** The position behind the last byte. */
  get size(): number {
    return this.#size;
  }

  /**
   * Puts whole lines behind the others, one append at a time. Readers see all of it or, while it is on its way, none.
   *
   * @throws {Error} the error of the file; nothing was appended then, and the same may be tried again.
   */
  async append(lines: Buffer): Promise<void> {
    const current = this.#segments.at(-1);
    const isFull = current === undefined || this.#size - current.base >= this.#segmentBytes;
    const { file, base } = isFull ? await this.#begin() : { file: this.#file, base: current.base };
    if (file === undefined) throw new Error('the spool is closed');
    let written = 0;
    // A disk that is nearly full takes a part; the next attempt writes over it.
    while (written < lines.length) {
      const at = this.#size - base + written;
      const { bytesWritten } = await file.write(lines, written, lines.length - written, at);
      if (bytesWritten === 0) throw new Error('the disk takes nothing more');
      written += bytesWritten;
    }
    this.#size += lines.length;
  }

  /** Opens it to read. Any number may read, while it grows and while segments go; closing them is nothing to the spool. */
  openWitness(): Witness {
    return new SpoolWitness(this, this.#segments);
  }

  /** Ends appending, so that no file is held open; it can be read as before. */
  async seal(): Promise<void> {
    await this.#closeFile();
  }

  /** Ends appending and removes the files; who is reading reads to the end of his call. */
  async remove(): Promise<void> {
    await this.#closeFile();
    this.#segments.length = 0;
    await fs.rm(this.#folder, { recursive: true, force: true });
  }

  async #begin(): Promise<{ file: fs.FileHandle; base: number }> {
    await this.#closeFile();
    const base = this.#size;
    const path = join(this.#folder, String(base).padStart(NAME_DIGITS, '0'));
    const file = await fs.open(path, 'w', 0o600);
    this.#file = file;
    this.#segments.push({ base, path });
    await this.#dropOldest();
    return { file, base };
  }

  async #dropOldest(): Promise<void> {
    while (this.#segments.length > this.#maxSegments) {
      const oldest = this.#segments.shift();
      // First out of the list: whoever has it open reads on, whoever has not finds it gone.
      if (oldest) await fs.rm(oldest.path, { force: true });
    }
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }
}

class SpoolWitness implements Witness {
  readonly #spool: LogSpool;
  readonly #segments: readonly Segment[];

  constructor(spool: LogSpool, segments: readonly Segment[]) {
    this.#spool = spool;
    this.#segments = segments;
  }

  async start(): Promise<number> {
    return this.#spool.start;
  }

  async size(): Promise<number> {
    return this.#spool.size;
  }

  /** As of every witness; nothing from a position that was dropped. */
  async readAt(position: number, length: number): Promise<Buffer> {
    const end = Math.min(position + length, this.#spool.size);
    const parts: Buffer[] = [];
    for (let at = position; at < end;) {
      const part = await this.#readPart(at, end - at);
      if (part.length === 0) break;
      parts.push(part);
      at += part.length;
    }
    const [only = Buffer.alloc(0)] = parts;
    return parts.length > 1 ? Buffer.concat(parts) : only;
  }

  async close(): Promise<void> {
    // Files are opened for each read: a segment that goes needs no count of its readers.
  }

  /** Reads from one segment, at most to its end. */
  async #readPart(position: number, length: number): Promise<Buffer> {
    const index = this.#segments.findLastIndex(({ base }) => base <= position);
    const segment = this.#segments[index];
    if (segment === undefined) return Buffer.alloc(0);
    const end = this.#segments[index + 1]?.base ?? this.#spool.size;
    const file = await fs.open(segment.path, 'r').catch(unlessAbsent);
    if (file === undefined) return Buffer.alloc(0);
    try {
      const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(length, end - position)));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, position - segment.base);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }
}

function unlessAbsent(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}
