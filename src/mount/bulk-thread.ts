import type fs from 'node:fs';
import type { MessagePort } from 'node:worker_threads';

/** A batch of small files for one thread: where each goes, and its bytes or the file that it is a copy of. */
export interface BulkBatch {
  readonly files: readonly BulkEntry[];
  /** The bytes of all files that have some, one behind the other. */
  readonly bytes: Uint8Array;
}

export interface BulkEntry {
  readonly path: string;
  readonly mode: number;
  /** Bytes of the file in `bytes`, or the absolute path that is copied. */
  readonly content: { readonly length: number } | { readonly from: string };
}

/** How a batch ended: null, or the error of a system call in parts, since a thread cannot send it whole. */
export type BulkAnswer = { readonly errno: number; readonly code: string; readonly message: string } | null;

/**
 * The program of a thread that writes batches with synchronous calls, each file fresh, none of them fsynced.
 *
 * Its text is what the thread runs, so that it needs no file beside the bundle: it may use nothing but its arguments.
 */
export function bulkThread(files: typeof fs, port: MessagePort): void {
  const writeOne = (entry: BulkEntry, bytes: Uint8Array, offset: number): number => {
    const { path, mode, content } = entry;
    if ('from' in content) {
      files.copyFileSync(content.from, path, files.constants.COPYFILE_EXCL);
      files.chmodSync(path, mode);
      return 0;
    }
    const descriptor = files.openSync(path, 'wx', mode);
    try {
      for (let done = 0; done < content.length;) {
        done += files.writeSync(descriptor, bytes, offset + done, content.length - done, done);
      }
    } finally {
      files.closeSync(descriptor);
    }
    return content.length;
  };
  port.on('message', (batch: BulkBatch) => {
    let answer: BulkAnswer = null;
    try {
      let offset = 0;
      for (const entry of batch.files) offset += writeOne(entry, batch.bytes, offset);
    } catch (error) {
      const { errno = 0, code = '', message } = error as NodeJS.ErrnoException;
      answer = { errno, code, message };
    }
    port.postMessage(answer);
  });
}
