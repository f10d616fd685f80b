import { isUtf8 } from 'node:buffer';
import type { JournalFrame } from '../protocol/journal-frame.ts';
import {
  decodeSegments,
  piecesOf,
  type JournalPiece,
  type JournalSegment,
  type SegmentKind,
} from '../protocol/journal-segment.ts';
import type { JournalLine } from '../protocol/script-status.ts';

/** Lines in the order of their numbers without a hole: where one is, a line of its own says so. */
export interface ScriptPage {
  readonly lines: readonly JournalLine[];
  /** The last number that the page speaks of, and where to go on in the live witness. */
  readonly last: number;
  readonly hint: number;
  readonly more: boolean;
  /** How many of the lines say that others are lost. */
  readonly gaps: number;
}

/** Where a page begins and how much of it there may be. */
export interface PageBounds {
  /** The last line that the reader has. */
  readonly after: number;
  readonly maxLines: number;
  readonly maxBytes: number;
}

/** Makes a page of frames that come in the order of their numbers; what overlaps is taken once. */
export class PageBuilder {
  readonly #bounds: PageBounds;
  readonly #lines: JournalLine[] = [];
  #bytes = 0;
  #gaps = 0;
  #time = { ms: Number.NaN, text: '' };
  next: number;
  hint = 0;
  full = false;

  constructor(bounds: PageBounds) {
    this.#bounds = bounds;
    this.next = bounds.after + 1;
  }

  take(frame: JournalFrame): void {
    if (frame.last < this.next) return;
    const segments = decodeSegments(frame.payload);
    if (segments === undefined) return this.stateGap(frame.last, undefined);
    let first = frame.first;
    for (const segment of segments) {
      if (this.full) return;
      first = this.#takeSegment(segment, first);
    }
  }

  /** Takes the lines of a segment that are not there yet; returns the number of the first line behind it. */
  #takeSegment(segment: JournalSegment, first: number): number {
    // Nearly always: one decoding for all of its lines, which are then parts of that text.
    const lines = isUtf8(segment.bytes) ? segment.bytes.toString('utf8').split('\n') : undefined;
    if (lines === undefined || segment.kind === 'end') return this.#takePieces(segment, first);
    const rest = lines.pop() ?? '';
    const at = this.#timeText(segment.atMs);
    const stream = streamOf(segment.kind);
    for (let index = Math.max(0, this.next - first); index < lines.length; index += 1) {
      if (!this.#hasRoom()) return first;
      const text = lines[index] ?? '';
      this.#lines.push({ id: `s${this.next}`, seq: this.next, at, stream, text });
      this.#bytes += text.length;
      this.next += 1;
    }
    const behind = first + lines.length;
    if (rest === '') return behind;
    if (this.next === behind && this.#hasRoom()) {
      this.#lines.push({ id: `s${behind}`, seq: behind, at, stream, text: rest, partial: true });
      this.#bytes += rest.length;
      this.next += 1;
    }
    return behind + 1;
  }

  #takePieces(segment: JournalSegment, first: number): number {
    let behind = first;
    for (const piece of piecesOf([segment], first)) {
      behind = piece.seq + 1;
      if (piece.seq < this.next) continue;
      if (!this.#hasRoom()) break;
      if (piece.kind !== 'end') this.#lines.push(lineFor(piece, this.#timeText(piece.atMs)));
      this.#bytes += piece.bytes.length;
      this.next = behind;
    }
    return behind;
  }

  #hasRoom(): boolean {
    const { maxLines, maxBytes } = this.#bounds;
    this.full = this.#lines.length >= maxLines || this.#bytes >= maxBytes;
    return !this.full;
  }

  /** `atMs` is the time of what follows, where that is known; else the gap has the time of what came before. */
  stateGap(last: number, atMs: number | undefined): void {
    const text = `lines ${this.next} to ${last} are lost: neither the runner's output nor the volume has them`;
    this.#lines.push({ id: `s${last}`, seq: last, at: this.#timeOfGap(atMs), stream: 'agent', text });
    this.#gaps += 1;
    this.next = last + 1;
  }

  /** Many lines arrive together, and writing a time costs more than all the rest of a line. */
  #timeText(atMs: number): string {
    if (this.#time.ms !== atMs) this.#time = { ms: atMs, text: new Date(atMs).toISOString() };
    return this.#time.text;
  }

  #timeOfGap(atMs: number | undefined): string {
    return atMs === undefined
      ? (this.#lines.at(-1)?.at ?? new Date(0).toISOString())
      : new Date(atMs).toISOString();
  }

  build(): ScriptPage {
    return { lines: this.#lines, last: this.next - 1, hint: this.hint, more: this.full, gaps: this.#gaps };
  }
}

function streamOf(kind: SegmentKind): JournalLine['stream'] {
  return kind === 'stdout' || kind === 'stderr' ? kind : 'agent';
}

function lineFor({ seq, kind, bytes, partial }: JournalPiece, at: string): JournalLine {
  const line: JournalLine = { id: `s${seq}`, seq, at, stream: streamOf(kind), text: bytes.toString('utf8') };
  return {
    ...line,
    ...(partial && { partial: true as const }),
    ...(!isUtf8(bytes) && { base64: bytes.toString('base64') }),
  };
}
