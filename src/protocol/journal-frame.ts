import { openBytes, sealBytes } from './seal.ts';

/**
 * A batch of numbered journal lines on its way from the runner, one line of text:
 *
 *   LS1 <first>-<last> <base64 of AES-256-GCM sealed segments>\n
 *
 * The nonce is the number of the first line, which no other frame of the script has; the key is the script's; the
 * head is authenticated too. So a frame of another run, a frame at another place, or a made-up one does not open.
 */
export interface JournalFrame {
  readonly first: number;
  readonly last: number;
  readonly payload: Buffer;
}

/** The head of a frame, read without its key: enough to look for a place in a file. */
export interface FrameHead {
  readonly first: number;
  readonly last: number;
  readonly sealed: Buffer;
}

/** Segments of one frame together at most; the line on the wire is 4/3 of it and a head. */
export const MAX_FRAME_PAYLOAD_BYTES = 128 * 1024;
/** No line of a witness that is longer can be a frame. */
export const MAX_FRAME_LINE_BYTES = 192 * 1024;

const HEAD = /^LS1 ([1-9][0-9]{0,14})-([1-9][0-9]{0,14})$/;
const MAX_HEAD_CHARACTERS = 40;

/** Writes a frame as a line that ends in `\n`. */
export function sealFrame(key: Buffer, frame: JournalFrame): Buffer {
  const head = `LS1 ${frame.first}-${frame.last}`;
  return Buffer.from(
    `${head} ${sealBytes(key, nonceOf(frame.first), head, frame.payload).toString('base64')}\n`,
  );
}

/** Reads the head of a line without its `\n`; undefined where it does not look like a frame. */
export function parseFrameHead(line: string): FrameHead | undefined {
  if (line.length > MAX_FRAME_LINE_BYTES || !line.startsWith('LS1 ')) return undefined;
  const space = line.indexOf(' ', 4);
  const [, first, last] = (space <= MAX_HEAD_CHARACTERS && HEAD.exec(line.slice(0, space))) || [];
  if (first === undefined || last === undefined || Number(last) < Number(first)) return undefined;
  const base64 = line.slice(space + 1);
  const sealed = Buffer.from(base64, 'base64');
  // Decoding passes over what is no base64, and then there are fewer bytes than so many characters stand for.
  const isWhole = sealed.length > 0 && Math.ceil(sealed.length / 3) * 4 === base64.length;
  return isWhole ? { first: Number(first), last: Number(last), sealed } : undefined;
}

/** Opens a frame; undefined unless it was sealed by this script's runner for these line numbers. */
export function openFrame(key: Buffer, head: FrameHead): JournalFrame | undefined {
  const { first, last, sealed } = head;
  const payload = openBytes(key, nonceOf(first), `LS1 ${first}-${last}`, sealed);
  return payload && { first, last, payload };
}

function nonceOf(first: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64BE(BigInt(first), 4);
  return nonce;
}
