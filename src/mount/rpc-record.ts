import { Buffer } from 'node:buffer';
import { XdrError, xdrWords } from './xdr.ts';

/** Set in the header of the last fragment; the other 31 bits are its length. */
const LAST = 0x8000_0000;
const HEADER_BYTES = 4;

/** Frames one RPC message for TCP, as a record of one fragment. Source: RFC 5531 section 11. */
export function rpcRecord(message: Uint8Array): Buffer {
  return Buffer.concat([xdrWords(LAST + message.length), message]);
}

/** Puts the fragments of one record together, however TCP has cut them. */
export class RpcRecordReader {
  readonly #maxBytes: number;
  readonly #fragments: Buffer[] = [];
  #pending: Buffer = Buffer.alloc(0);
  #received = 0;

  /** `maxBytes` bounds what may arrive, headers included: a header announces up to 2 GiB, and empty fragments never end. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get received(): number {
    return this.#received;
  }

  /**
   * Takes the next bytes; returns the message when its last fragment is whole, and undefined before.
   *
   * @throws {XdrError} where more arrives, or is announced, than the record may have.
   */
  push(chunk: Uint8Array): Buffer | undefined {
    this.#received += chunk.length;
    if (this.#received > this.#maxBytes) throw new XdrError(`a reply of more than ${this.#maxBytes} bytes`);
    this.#pending = Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= HEADER_BYTES) {
      const header = this.#pending.readUInt32BE(0);
      const end = HEADER_BYTES + (header % LAST);
      if (end > this.#maxBytes) throw new XdrError(`a fragment of ${end} bytes is announced`);
      if (this.#pending.length < end) return undefined;
      this.#fragments.push(this.#pending.subarray(HEADER_BYTES, end));
      this.#pending = this.#pending.subarray(end);
      if (header >= LAST) return Buffer.concat(this.#fragments);
    }
    return undefined;
  }
}
