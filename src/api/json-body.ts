import type { Readable } from 'node:stream';
import { Fault } from '../protocol/fault.ts';

export interface BodyBounds {
  readonly maxBytes: number;
  /** From the head of the request to the end of its body. */
  readonly timeoutMs: number;
  readonly announcedBytes: number | undefined;
}

/**
 * Reads a body whole, as text.
 *
 * @throws {Fault} BODY_TOO_LARGE, before a byte is read where the length was announced; UPLOAD_TOO_SLOW;
 * UPLOAD_INCOMPLETE; REQUEST_INVALID for bytes that are not UTF-8.
 */
export async function readText(source: Readable, bounds: BodyBounds): Promise<string> {
  const { maxBytes, timeoutMs, announcedBytes = 0 } = bounds;
  if (announcedBytes > maxBytes) throw tooLarge(maxBytes);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let size = 0;
  const timer = setTimeout(() => {
    const message = `the body was not whole after ${timeoutMs} ms, with ${size} bytes of it there`;
    reject(new Fault('UPLOAD_TOO_SLOW', message));
  }, timeoutMs);
  source.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > maxBytes) reject(tooLarge(maxBytes));
    else chunks.push(chunk);
  });
  source.once('end', () => resolve(Buffer.concat(chunks)));
  source.once('error', (error) => reject(incomplete(size, error)));
  source.once('close', () => reject(incomplete(size)));
  const bytes = await promise.finally(() => {
    clearTimeout(timer);
    source.pause();
  });
  return decoded(bytes);
}

function decoded(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch (error) {
    throw new Fault('REQUEST_INVALID', 'the body must be UTF-8', { cause: error });
  }
}

function tooLarge(maxBytes: number): Fault {
  return new Fault('BODY_TOO_LARGE', `the body must have at most ${maxBytes} bytes`, {
    detail: { maxBytes },
  });
}

function incomplete(size: number, cause?: unknown): Fault {
  return new Fault('UPLOAD_INCOMPLETE', `the connection ended after ${size} bytes of the body`, { cause });
}
