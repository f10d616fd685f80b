import type { Readable } from 'node:stream';
import { meaningOf } from '../mount/errno.ts';
import type { FileFacts } from '../mount/volume-file.ts';
import type { Volume } from '../mount/volume.ts';
import type { Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import { folderOf } from './atomic-file.ts';
import { copyDurable } from './durable-copy.ts';
import { Space, type SpaceOptions } from './space.ts';
import { UploadMemory } from './upload-memory.ts';
import { receiveUpload, type ReceivedUpload } from './upload-writer.ts';

export interface BlobStoreOptions extends SpaceOptions {
  /** The largest body. */
  readonly maxBytes: number;
  /** Bytes that all uploads together hold in memory. */
  readonly memoryBytes: number;
  readonly minBytesPerSecond: number;
  readonly rateWindowMs: number;
}

/** One body that is to become a blob. */
export interface Upload {
  /** What was announced; checked where it is given. */
  readonly digest?: Sha256 | undefined;
  readonly length?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called once, when nothing stands against the body any more and before it is read: the place of "100 Continue". */
  readonly accept?: (() => void) | undefined;
  /** Asked when the bytes have arrived and before they get their name; what it throws refuses them. */
  readonly judge?: ((digest: Sha256) => Promise<void>) | undefined;
}

export interface Blob {
  readonly digest: Sha256;
  readonly size: number;
}

const USED_AGAIN_AFTER_MS = 24 * 60 * 60 * 1000;

/** Immutable bytes named by their SHA-256: `blobs/sha256/ab/<hex>`, mode 0444. Nothing is cached. */
export class BlobStore {
  readonly space: Space;
  readonly #volume: Volume;
  readonly #options: BlobStoreOptions;
  readonly #memory: UploadMemory;

  constructor(volume: Volume, options: BlobStoreOptions) {
    this.#volume = volume;
    this.#options = options;
    this.space = new Space(volume, options);
    this.#memory = new UploadMemory(options.memoryBytes);
  }

  /** Where the bytes of a blob lie. */
  pathOf(digest: Sha256): string {
    return this.#volume.layout.blob(digest);
  }

  /** Tells the size of a blob, and keeps it from being swept for another time; undefined where there is none. */
  async find(digest: Sha256): Promise<{ size: number } | undefined> {
    const path = this.#volume.layout.blob(digest);
    const facts = await markUsed(this.#volume, path);
    return facts?.isFile === true ? { size: facts.size } : undefined;
  }

  /**
   * Takes a body and makes it a blob, verified and durable; `created` is false where its bytes were there before.
   *
   * Where the announced digest is there already, `source` is not read at all. Of concurrent callers with the same
   * bytes exactly one gets `created`. An error leaves nothing behind.
   *
   * @throws {Fault} BODY_TOO_LARGE, STORAGE_FULL and UPLOADS_TOO_MANY before a byte is read; then what
   * receiveUpload throws.
   */
  async receive(source: Readable, upload: Upload = {}): Promise<Blob & { created: boolean }> {
    const present = upload.digest && (await this.find(upload.digest));
    if (upload.digest && present) {
      // Whoever made it may not have come to its fsync yet, and our answer promises that it lasts.
      await this.#volume.syncFolder(this.#volume.layout.blobFolder(upload.digest));
      return { digest: upload.digest, size: present.size, created: false };
    }
    const { maxBytes } = this.#options;
    if ((upload.length ?? 0) > maxBytes) {
      const message = `cannot take ${upload.length ?? 0} bytes: ${maxBytes} is the limit`;
      throw new Fault('BODY_TOO_LARGE', message, { detail: { maxBytes } });
    }
    const reservation = await this.space.admitUpload(upload.length);
    try {
      upload.accept?.();
      const { minBytesPerSecond, rateWindowMs } = this.#options;
      const received = await receiveUpload(this.#volume, source, {
        ...{ maxBytes, minBytesPerSecond, rateWindowMs, memory: this.#memory, reservation },
        ...{ length: upload.length, digest: upload.digest, signal: upload.signal },
      });
      return await this.#publish(received, upload.judge);
    } finally {
      reservation.release();
    }
  }

  /**
   * Gives a blob the name `target`, which is free and lies on the volume: a second name for the same bytes, or a
   * copy of them where the file system has no hard links. The folder of `target` is left to the caller to sync.
   *
   * @throws {Fault} BLOB_MISSING, or a STORAGE_ code.
   */
  async place(digest: Sha256, target: string): Promise<void> {
    const path = this.#volume.layout.blob(digest);
    const linked = await this.#volume.link(path, target).catch((error: unknown) => {
      if (meaningOf(error) === 'absent') throw blobMissing(digest, error);
      throw error;
    });
    if (linked === 'exists')
      throw new Fault('STORAGE_ERROR', `cannot place a blob at ${target}: the name is taken`);
    if (linked === 'unsupported') await this.copy(digest, target, 0o444);
  }

  /** Copies a blob to `target`, durable but for its folder, for somebody who may write to it. @throws {Fault} BLOB_MISSING */
  async copy(digest: Sha256, target: string, mode: number): Promise<void> {
    const copied = await copyDurable(this.#volume, this.#volume.layout.blob(digest), target, mode);
    if (!copied) throw blobMissing(digest);
  }

  async #publish(
    { temporary, digest, size }: ReceivedUpload,
    judge: Upload['judge'],
  ): Promise<Blob & { created: boolean }> {
    const { layout } = this.#volume;
    const path = layout.blob(digest);
    try {
      await judge?.(digest);
      const folder = folderOf(path);
      if (await this.#volume.makeFolder(folder)) await this.#volume.syncFolder(layout.blobs);
      const created = await this.#takeName(temporary, path);
      await this.#volume.syncFolder(folder);
      return { digest, size, created };
    } finally {
      // Renamed already, or a second name of the blob, or not wanted. What cannot be removed is left to the sweeper.
      await this.#volume.remove(temporary).catch(() => false);
    }
  }

  async #takeName(temporary: string, path: string): Promise<boolean> {
    const linked = await this.#volume.link(temporary, path);
    if (linked !== 'unsupported') return linked === 'made';
    // A rename replaces: only the same bytes can be there, and who has them open keeps them.
    const present = (await this.#volume.look(path)) !== undefined;
    return !present && (await this.#volume.rename(temporary, path));
  }
}

/** Keeps what is used from being swept, by its time; at most one write a day. Tells what was there. */
export async function markUsed(volume: Volume, path: string): Promise<FileFacts | undefined> {
  const facts = await volume.look(path);
  if (facts && Date.now() - facts.modifiedMs > USED_AGAIN_AFTER_MS) await volume.touch(path);
  return facts;
}

/** Says that a script or a copy needs a blob that is not there. */
export function blobMissing(digest: Sha256, cause?: unknown): Fault {
  return new Fault('BLOB_MISSING', `there is no blob sha256:${digest}; push it first`, {
    cause,
    detail: { digest },
  });
}
