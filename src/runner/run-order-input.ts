import { closeSync, openSync, readSync } from 'node:fs';
import { parseRunOrder, type RunOrder } from '../protocol/run-order.ts';

const PAUSE_MS = 5;

/**
 * Reads the order from a descriptor up to its end; undefined where no whole one came.
 *
 * Waits in read(2): as long as nobody listens for signals, a TERM ends this process, and nothing was claimed.
 */
export function readRunOrder(fd: number): RunOrder | undefined {
  const parts: Buffer[] = [];
  const buffer = Buffer.allocUnsafe(64 * 1024);
  for (;;) {
    const bytes = readSome(fd, buffer);
    if (bytes === 0) return parseRunOrder(Buffer.concat(parts).toString('utf8'));
    parts.push(Buffer.from(buffer.subarray(0, bytes)));
  }
}

/**
 * Reads the order from a file, of a Secret that is mounted into the pod; undefined where no whole one is in it.
 *
 * @throws {Error} of the file.
 */
export function readRunOrderFile(path: string): RunOrder | undefined {
  const fd = openSync(path, 'r');
  try {
    return readRunOrder(fd);
  } finally {
    closeSync(fd);
  }
}

function readSome(fd: number, buffer: Buffer): number {
  for (;;) {
    try {
      return readSync(fd, buffer);
    } catch (error) {
      // EAGAIN: somebody made the descriptor non-blocking.
      if (!(error instanceof Error) || !('code' in error) || error.code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  }
}
