import { Buffer } from 'node:buffer';

/** The bytes are not what the schema says: they end too early, or a length is over its limit. */
export class XdrError extends RangeError {
  override readonly name = 'XdrError';
}

/** Writes 32-bit words, big-endian; the lowest 32 bits of each number. */
export function xdrWords(...words: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * words.length);
  words.forEach((word, index) => bytes.writeUInt32BE(word >>> 0, 4 * index));
  return bytes;
}

/** Writes bytes of variable length: their count, they, and zeros up to a multiple of four. */
export function xdrOpaque(bytes: Uint8Array): Buffer {
  return Buffer.concat([xdrWords(bytes.length), bytes, Buffer.alloc(paddingOf(bytes.length))]);
}

/** Reads values of External Data Representation one after the other, never behind the end. Source: RFC 4506. */
export class XdrReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** @throws {XdrError} where fewer than four bytes are left. */
  word(): number {
    return this.#take(4).readUInt32BE(0);
  }

  /** Reads bytes of variable length. @throws {XdrError} where there are more than `maxBytes`, or fewer than announced. */
  opaque(maxBytes: number): Buffer {
    const length = this.word();
    if (length > maxBytes) throw new XdrError(`${length} bytes where at most ${maxBytes} may be`);
    const bytes = this.#take(length);
    this.#take(paddingOf(length));
    return bytes;
  }

  #take(count: number): Buffer {
    const left = this.#bytes.length - this.#at;
    if (count > left) throw new XdrError(`${left} bytes are left where ${count} must follow`);
    const bytes = this.#bytes.subarray(this.#at, this.#at + count);
    this.#at += count;
    return bytes;
  }
}

function paddingOf(length: number): number {
  return (4 - (length % 4)) % 4;
}
