/** A line without its `\n`; `cut` says that it was longer than it may be and its rest is missing. */
export interface JoinedLine {
  readonly bytes: Buffer;
  readonly cut: boolean;
}

const NEWLINE = 0x0a;

/** Makes lines of chunks, whatever the chunks are. Holds at most one line, and of that one at most `maxBytes`. */
export class LineJoiner {
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #held = 0;
  #isCut = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Returns the lines that `chunk` completes. */
  push(chunk: Buffer): JoinedLine[] {
    const lines: JoinedLine[] = [];
    let at = 0;
    for (let newline = chunk.indexOf(NEWLINE); newline >= 0; newline = chunk.indexOf(NEWLINE, at)) {
      this.#hold(chunk.subarray(at, newline));
      lines.push(this.take());
      at = newline + 1;
    }
    this.#hold(chunk.subarray(at));
    return lines;
  }

  /** Gives out what has come of a line whose end has not, and begins a new one. */
  take(): JoinedLine {
    const [only = Buffer.alloc(0)] = this.#pieces;
    const bytes = this.#pieces.length > 1 ? Buffer.concat(this.#pieces, this.#held) : only;
    const line = { bytes, cut: this.#isCut };
    this.#pieces = [];
    this.#held = 0;
    this.#isCut = false;
    return line;
  }

  #hold(piece: Buffer): void {
    const room = this.#maxBytes - this.#held;
    if (piece.length > room) this.#isCut = true;
    if (piece.length === 0 || room === 0) return;
    const kept = piece.subarray(0, room);
    this.#pieces.push(kept);
    this.#held += kept.length;
  }
}
