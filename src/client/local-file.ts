import { createHash } from 'node:crypto';
import { createReadStream, type ReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';

/** A file of the person who runs the command line; the only one that this room opens. */
export interface LocalFile {
  readonly path: string;
  readonly size: number;
  readonly digest: Sha256;
  open(): ReadStream;
}

const CHUNK_BYTES = 1 << 20;

/** Reads a file once for its size and digest. @throws {Fault} REQUEST_INVALID when it cannot be read. */
export async function localFile(path: string): Promise<LocalFile> {
  const hash = createHash('sha256');
  let size = 0;
  const open_ = (): ReadStream => createReadStream(path, { highWaterMark: CHUNK_BYTES });
  try {
    for await (const chunk of open_()) {
      // A stream without an encoding gives buffers.
      const bytes = chunk as Buffer;
      hash.update(bytes);
      size += bytes.length;
    }
  } catch (error) {
    throw unreadable(path, error);
  }
  // A digest in hex, as parseSha256 would give it.
  return { path, size, digest: hash.digest('hex') as Sha256, open: open_ };
}

/** Reads a small text file. @throws {Fault} REQUEST_INVALID when it cannot be read. */
export async function localText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): Fault {
  const why = error instanceof Error ? error.message : String(error);
  return new Fault('REQUEST_INVALID', `cannot read ${path}: ${why}`, { cause: error });
}
