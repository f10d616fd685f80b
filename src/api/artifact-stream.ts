import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { Fault } from '../protocol/fault.ts';

/** An open file of the volume; see VolumeFile. */
interface OpenFile {
  readAt(position: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

const CHUNK_BYTES = 256 * 1024;

/** Sends a file that a script left, and closes it, whatever happens. */
export async function sendArtifact(
  reply: FastifyReply,
  name: string,
  { size, file }: { size: number; file: OpenFile },
): Promise<FastifyReply> {
  const fileName = encodeURIComponent(name.split('/').at(-1) ?? name).replace(/['()*]/g, percent);
  return reply
    .headers({
      'content-type': 'application/octet-stream',
      'content-length': size,
      'content-disposition': `attachment; filename*=UTF-8''${fileName}`,
    })
    .send(new FileStream(file, size));
}

/**
 * Reads exactly `size` bytes. A file that has fewer ends in an error, so that the connection breaks and nobody takes
 * a part for the whole.
 */
class FileStream extends Readable {
  readonly #file: OpenFile;
  readonly #size: number;
  #position = 0;

  constructor(file: OpenFile, size: number) {
    super({ highWaterMark: CHUNK_BYTES });
    this.#file = file;
    this.#size = size;
  }

  override _read(): void {
    const left = this.#size - this.#position;
    if (left === 0) return void this.push(null);
    this.#file.readAt(this.#position, Math.min(left, CHUNK_BYTES)).then(
      (bytes) => {
        this.#position += bytes.length;
        if (bytes.length > 0) this.push(bytes);
        else
          this.destroy(
            new Fault('STORAGE_ERROR', `the file ended at ${this.#position} of ${this.#size} bytes`),
          );
      },
      (error: unknown) => this.destroy(error instanceof Error ? error : new Error(String(error))),
    );
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#file.close().then(
      () => done(error),
      (closing: unknown) => done(error ?? (closing instanceof Error ? closing : null)),
    );
  }
}

function percent(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
}
