import { createHash } from 'node:crypto';
import type { EndRecord } from '../protocol/end-record.ts';
import type { Sha256 } from '../protocol/digest.ts';
import { MAX_FRAME_PAYLOAD_BYTES, sealFrame } from '../protocol/journal-frame.ts';
import {
  countPieces,
  encodeSegments,
  SEGMENT_OVERHEAD_BYTES,
  type JournalSegment,
  type SegmentKind,
} from '../protocol/journal-segment.ts';
import { monotonicMs } from './clock.ts';

export interface FrameWriterOptions {
  readonly key: Buffer;
  /** Sealed bytes that the script's output may take. Notes and the end record have their place beyond it. */
  readonly maxBytes: number;
  /** Gets each sealed frame, in order. */
  readonly write: (frame: Buffer) => void;
}

const FLUSH_BYTES = 64 * 1024;
/** Between two frames: the first output after a silence goes out at once, what follows is gathered. */
const FLUSH_MS = 50;
const NEWLINE = 0x0a;
/** Head, spaces and end of a frame's line, beside the base64 of payload and tag. */
const FRAME_LINE_OVERHEAD_BYTES = 60;

/**
 * Numbers the lines of a script, gathers them into frames, seals each, and hands it on.
 *
 *   append ─▶ segments ─┬ 64 KiB, or 50 ms after the last frame ─▶ sealed frame ─▶ write
 *                       └ journal full ─▶ counted and dropped, said once
 */
export class FrameWriter {
  readonly #options: FrameWriterOptions;
  readonly #digest = createHash('sha256');
  #segments: JournalSegment[] = [];
  #pendingBytes = 0;
  #pendingPieces = 0;
  #last = 0;
  #sealedBytes = 0;
  #full = false;
  #linesOverLimit = 0;
  #flushedAt = -FLUSH_MS;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(options: FrameWriterOptions) {
    this.#options = options;
  }

  /** Number of the last line that was taken. */
  get lines(): number {
    return this.#last + this.#pendingPieces;
  }

  get linesOverLimit(): number {
    return this.#linesOverLimit;
  }

  /** Takes a run of lines or a part of one, at most 64 KiB and a `\n`; copies it. */
  append(kind: 'stdout' | 'stderr', run: Buffer): void {
    if (run.length === 0) return;
    const kept = this.#full ? 0 : this.#fitting(run);
    if (kept > 0) this.#take(kind, Buffer.from(run.subarray(0, kept)));
    if (kept === run.length) return;
    this.#linesOverLimit += countPieces(run.subarray(kept));
    if (this.#full) return;
    this.#full = true;
    const limit = `the journal has reached its limit of ${this.#options.maxBytes} bytes`;
    this.note(`${limit}: what the script prints from here on is counted and not kept`);
  }

  /** Adds a sentence of the runner itself. */
  note(sentence: string): void {
    this.#take('note', Buffer.from(`${sentence.replaceAll('\n', ' ')}\n`));
  }

  /** Seals what was gathered. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#segments.length === 0) return;
    const payload = encodeSegments(this.#segments);
    this.#digest.update(payload);
    const first = this.#last + 1;
    this.#last += this.#pendingPieces;
    const frame = sealFrame(this.#options.key, { first, last: this.#last, payload });
    this.#segments = [];
    this.#pendingBytes = 0;
    this.#pendingPieces = 0;
    this.#sealedBytes += frame.length;
    this.#flushedAt = monotonicMs();
    this.#options.write(frame);
  }

  /** Digest of the payloads of all frames so far; only once, when nothing is appended any more. */
  journalDigest(): Sha256 {
    // 64 lower-case hex digits, as the brand says.
    return this.#digest.digest('hex') as Sha256;
  }

  /** Seals the last frame of the journal and returns it; it is not handed to `write`. Nothing is taken any more. */
  sealEnd(record: EndRecord): Buffer {
    this.#isOver = true;
    const bytes = Buffer.from(`${JSON.stringify(record)}\n`);
    const payload = encodeSegments([{ kind: 'end', atMs: Date.now(), bytes }]);
    const seq = this.#last + 1;
    return sealFrame(this.#options.key, { first: seq, last: seq, payload });
  }

  #take(kind: SegmentKind, bytes: Buffer): void {
    if (this.#isOver) return;
    const size = bytes.length + SEGMENT_OVERHEAD_BYTES;
    if (this.#pendingBytes + size > MAX_FRAME_PAYLOAD_BYTES) this.flush();
    this.#segments.push({ kind, atMs: Date.now(), bytes });
    this.#pendingBytes += size;
    this.#pendingPieces += countPieces(bytes);
    if (this.#pendingBytes >= FLUSH_BYTES) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), this.#untilFlushMs());
  }

  #untilFlushMs(): number {
    return Math.max(1, this.#flushedAt + FLUSH_MS - monotonicMs());
  }

  /** How much of `run` the limit still allows, in whole lines. */
  #fitting(run: Buffer): number {
    const left = this.#options.maxBytes - this.#sealedBytes - FRAME_LINE_OVERHEAD_BYTES;
    const payload = Math.floor((left * 3) / 4) - this.#pendingBytes - SEGMENT_OVERHEAD_BYTES;
    if (run.length <= payload) return run.length;
    return payload <= 0 ? 0 : run.lastIndexOf(NEWLINE, payload - 1) + 1;
  }
}
