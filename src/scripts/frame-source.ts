import type { Witness } from '../executors/executor.ts';
import {
  MAX_FRAME_LINE_BYTES,
  openFrame,
  parseFrameHead,
  type FrameHead,
  type JournalFrame,
} from '../protocol/journal-frame.ts';

/** A line of a witness that does not open as a frame of this script, and where it stands. */
export interface Stray {
  readonly offset: number;
  readonly bytes: Buffer;
}

/** What a scan finds: an authentic frame, or something else. `end` is the offset behind it. */
export type ScanItem =
  { readonly frame: JournalFrame; readonly end: number } | { readonly stray: Stray; readonly end: number };

const BLOCK_BYTES = 2 * MAX_FRAME_LINE_BYTES;
const NEWLINE = 0x0a;

/**
 * Finds frames in a witness without keeping anything of it in memory.
 *
 * Frames stand in the order of their numbers, so a place is found by halving, like a word in a dictionary: some
 * twenty reads for a journal of any length.
 */
export class FrameSource {
  readonly #witness: Witness;
  readonly #key: Buffer;

  constructor(witness: Witness, key: Buffer) {
    this.#witness = witness;
    this.#key = key;
  }

  /** Returns an offset at or before the frame that holds line `seq`, from which a scan soon meets it. */
  async offsetBefore(seq: number): Promise<number> {
    let low = await this.#witness.start();
    let high = await this.#witness.size();
    while (high - low > BLOCK_BYTES) {
      const middle = low + Math.floor((high - low) / 2);
      const found = await this.#firstHead(middle);
      if (found === undefined || found.head.first >= seq || found.offset >= high) high = middle;
      else low = found.offset;
    }
    return low;
  }

  /** Scans whole lines from `offset`, which is the start of a line. A last line without its end is not there yet. */
  async *scan(offset: number): AsyncGenerator<ScanItem> {
    let at = Math.max(offset, await this.#witness.start());
    for (;;) {
      const block = await this.#witness.readAt(at, BLOCK_BYTES);
      const lastNewline = block.lastIndexOf(NEWLINE);
      // A line longer than a block is no frame: give it out in pieces, so that it can neither stop nor fill anything.
      if (lastNewline < 0 && block.length < BLOCK_BYTES) return;
      const usable = lastNewline < 0 ? block : block.subarray(0, lastNewline + 1);
      yield* this.#items(usable, at);
      at += usable.length;
    }
  }

  *#items(block: Buffer, offset: number): Generator<ScanItem> {
    for (let at = 0; at < block.length;) {
      const newline = block.indexOf(NEWLINE, at);
      const end = newline < 0 ? block.length : newline;
      const line = block.subarray(at, end);
      const head = parseFrameHead(line.toString('latin1'));
      const frame = head && openFrame(this.#key, head);
      const behind = offset + Math.min(end + 1, block.length);
      if (frame) yield { frame, end: behind };
      else yield { stray: { offset: offset + at, bytes: Buffer.from(line) }, end: behind };
      at = end + 1;
    }
  }

  /** The first authentic frame that begins behind `offset`, within one block. */
  async #firstHead(offset: number): Promise<{ head: FrameHead; offset: number } | undefined> {
    const block = await this.#witness.readAt(offset, BLOCK_BYTES);
    for (let newline = block.indexOf(NEWLINE); newline >= 0;) {
      const next = block.indexOf(NEWLINE, newline + 1);
      if (next < 0) return undefined;
      const head = parseFrameHead(block.toString('latin1', newline + 1, next));
      // Only an authentic frame may steer: a script that can write here must not lead the search astray.
      if (head && openFrame(this.#key, head)) return { head, offset: offset + newline + 1 };
      newline = next;
    }
    return undefined;
  }
}
