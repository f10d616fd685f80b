import { isUtf8 } from 'node:buffer';
import type { Witness } from '../executors/executor.ts';
import type { JournalFrame } from '../protocol/journal-frame.ts';
import { decodeSegments, piecesOf, type JournalPiece } from '../protocol/journal-segment.ts';
import type { JournalLine } from '../protocol/script-status.ts';
import { FrameSource } from './frame-source.ts';

/** The two places where a runner writes its frames; either may be missing. */
export interface Witnesses {
  /** What went to the runner's stdout. */
  readonly live: Witness | undefined;
  /** `out/journal` on the volume. */
  readonly volume: Witness;
}

export interface ReadOptions {
  readonly key: Buffer;
  /** The last line that the reader has. */
  readonly after: number;
  readonly maxLines: number;
  readonly maxBytes: number;
  /** Nothing more will be written: what neither witness has is lost. */
  readonly over: boolean;
  /** Number of the last line that there ever was, where an end record tells it. */
  readonly total?: number;
  /** Where the scan of the live witness may begin, from an earlier page; a wrong one only costs time. */
  readonly hint?: number;
}

/** Lines in the order of their numbers without a hole: where one is, a line of its own says so. */
export interface ScriptPage {
  readonly lines: readonly JournalLine[];
  /** The last number that the page speaks of, and where to go on in the live witness. */
  readonly last: number;
  readonly hint: number;
  readonly more: boolean;
}

/**
 * Reads the script's lines after a number, from both witnesses, each once.
 *
 * The live witness leads. What it lacks is taken from the volume; what both lack is stated as a gap, but only when
 * nothing can come any more or later lines are there (invariant 5).
 */
export async function readScriptLines(witnesses: Witnesses, options: ReadOptions): Promise<ScriptPage> {
  const page = new PageBuilder(options);
  const leader = witnesses.live ?? witnesses.volume;
  const source = new FrameSource(leader, options.key);
  const second = witnesses.live && new FrameSource(witnesses.volume, options.key);
  const start = options.hint ?? (await source.offsetBefore(options.after + 1));
  page.hint = start;
  for await (const item of source.scan(start)) {
    if ('frame' in item) {
      if (item.frame.first > page.next && !(await fillHole(page, second, item.frame))) break;
      if (page.full) break;
      page.take(item.frame);
      if (page.full) break;
    }
    page.hint = item.end;
  }
  // The live witness may have been cut off or be gone while the volume has the rest.
  if (second && options.over && !page.full) await takeFrom(page, second, Number.MAX_SAFE_INTEGER);
  if (options.over && !page.full && page.next <= (options.total ?? 0))
    page.stateGap(options.total ?? 0, undefined);
  return page.build();
}

/** Fills the hole before line `until` from the second witness; false when the page must end before it. */
async function fillHole(
  page: PageBuilder,
  second: FrameSource | undefined,
  behind: JournalFrame,
): Promise<boolean> {
  const until = behind.first;
  if (second) await takeFrom(page, second, until);
  if (page.full) return false;
  if (page.next >= until) return true;
  // While the script runs, the other witness may only be late.
  if (!page.options.over && second) return false;
  page.stateGap(until - 1, timeOf(behind));
  return true;
}

async function takeFrom(page: PageBuilder, source: FrameSource, until: number): Promise<void> {
  for await (const item of source.scan(await source.offsetBefore(page.next))) {
    if (!('frame' in item)) continue;
    if (item.frame.first >= until || page.full) return;
    if (item.frame.first > page.next) page.stateGap(item.frame.first - 1, timeOf(item.frame));
    page.take(item.frame);
  }
}

class PageBuilder {
  readonly options: ReadOptions;
  readonly #lines: JournalLine[] = [];
  #bytes = 0;
  #time = { ms: Number.NaN, text: '' };
  next: number;
  hint = 0;
  full = false;

  constructor(options: ReadOptions) {
    this.options = options;
    this.next = options.after + 1;
  }

  take(frame: JournalFrame): void {
    if (frame.last < this.next) return;
    const segments = decodeSegments(frame.payload);
    if (segments === undefined) return this.stateGap(frame.last, undefined);
    for (const piece of piecesOf(segments, frame.first, this.next - 1)) {
      if (this.#lines.length >= this.options.maxLines || this.#bytes >= this.options.maxBytes) {
        this.full = true;
        return;
      }
      if (piece.kind !== 'end') this.#lines.push(lineFor(piece, this.#timeText(piece.atMs)));
      this.#bytes += piece.bytes.length;
      this.next = piece.seq + 1;
    }
  }

  /** `atMs` is the time of what follows, where that is known; else the gap has the time of what came before. */
  stateGap(last: number, atMs: number | undefined): void {
    const text = `lines ${this.next} to ${last} are lost: neither the runner's output nor the volume has them`;
    this.#lines.push({ id: `s${last}`, seq: last, at: this.#timeOfGap(atMs), stream: 'agent', text });
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
    return { lines: this.#lines, last: this.next - 1, hint: this.hint, more: this.full };
  }
}

function timeOf(frame: JournalFrame): number | undefined {
  return decodeSegments(frame.payload)?.[0]?.atMs;
}

function lineFor({ seq, kind, bytes, partial }: JournalPiece, at: string): JournalLine {
  const stream = kind === 'stdout' || kind === 'stderr' ? kind : 'agent';
  const line: JournalLine = { id: `s${seq}`, seq, at, stream, text: bytes.toString('utf8') };
  if (!partial && isUtf8(bytes)) return line;
  return {
    ...line,
    ...(partial && { partial: true as const }),
    ...(!isUtf8(bytes) && { base64: bytes.toString('base64') }),
  };
}
