/** Bytes of a line that stay in one piece; a longer line is cut. */
export const MAX_PIECE_BYTES = 64 * 1024;

const NEWLINE = 0x0a;

/**
 * Cuts the bytes of one stream into runs: whole lines with their `\n`, or one part of a line that is too long.
 *
 * Feed it with `push`; runs come out through `emit`, at most MAX_PIECE_BYTES and a `\n`, valid until emit returns.
 * Runs joined are the input, byte for byte (`\r` and NUL are bytes as any other), and where lines are cut does not
 * depend on how the input was chunked. A cut falls between two UTF-8 characters where the bytes are UTF-8.
 * Whole lines pass without being copied or looked at one by one.
 */
export class LineSplitter {
  readonly #emit: (run: Buffer) => void;
  #held = Buffer.allocUnsafe(1024);
  #heldBytes = 0;

  constructor(emit: (run: Buffer) => void) {
    this.#emit = emit;
  }

  /** Bytes of a line whose end has not come. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      const lines = this.#heldBytes === 0 ? wholeLines(chunk, at) : at;
      if (lines > at) this.#emit(chunk.subarray(at, lines));
      at = lines > at ? lines : this.#hold(chunk, at);
    }
  }

  /** Gives out what is held of a line that does not go on for now, but for a character that is not whole yet. */
  flushPartial(): void {
    this.#emitHeld(characterBoundary(this.#held, this.#heldBytes, this.#heldBytes));
  }

  /** Gives out all that is left. */
  end(): void {
    this.#emitHeld(this.#heldBytes);
  }

  /** Takes bytes from `at` up to the end of the line, of the chunk, or of the room; returns where it stopped. */
  #hold(chunk: Buffer, at: number): number {
    const window = Math.min(chunk.length, at + MAX_PIECE_BYTES + 1 - this.#heldBytes);
    const newline = chunk.subarray(at, window).indexOf(NEWLINE);
    const end = newline < 0 ? window : at + newline + 1;
    this.#reserve(this.#heldBytes + end - at);
    this.#heldBytes += chunk.copy(this.#held, this.#heldBytes, at, end);
    if (newline >= 0) this.#emitHeld(this.#heldBytes);
    else if (this.#heldBytes > MAX_PIECE_BYTES) {
      this.#emitHeld(characterBoundary(this.#held, MAX_PIECE_BYTES, this.#heldBytes));
    }
    return end;
  }

  #emitHeld(bytes: number): void {
    if (bytes === 0) return;
    const rest = this.#heldBytes - bytes;
    this.#heldBytes = rest;
    this.#emit(this.#held.subarray(0, bytes));
    this.#held.copyWithin(0, bytes, bytes + rest);
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#held.length) return;
    const room = Buffer.allocUnsafe(Math.min(2 * bytes, MAX_PIECE_BYTES + 1));
    this.#held.copy(room, 0, 0, this.#heldBytes);
    this.#held = room;
  }
}

/** Where the whole lines that begin at `at` and fit into one run end; `at` where there is none. */
function wholeLines(chunk: Buffer, at: number): number {
  const window = chunk.subarray(at, at + MAX_PIECE_BYTES + 1);
  return at + window.lastIndexOf(NEWLINE) + 1;
}

/**
 * Moves `cut` back in front of a character that it would split. `end` is where known bytes end: a lead byte whose
 * character is cut off there counts as split too. Bytes that are not UTF-8 leave the cut where it is.
 */
function characterBoundary(bytes: Buffer, cut: number, end: number): number {
  for (let lead = cut - 1; lead >= 0 && lead >= cut - 3; lead -= 1) {
    const byte = bytes[lead] ?? 0;
    if (isContinuation(byte)) continue;
    const length = characterLength(byte);
    if (lead + length <= cut) return cut;
    for (let at = lead + 1; at < Math.min(lead + length, end); at += 1) {
      if (!isContinuation(bytes[at] ?? 0)) return cut;
    }
    return lead;
  }
  return cut;
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

function characterLength(lead: number): number {
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  if (lead >= 0xe0 && lead < 0xf0) return 3;
  return lead >= 0xc2 && lead < 0xe0 ? 2 : 1;
}
