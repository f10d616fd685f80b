import type { Variable } from '../protocol/run-order.ts';

const MASK = Buffer.from('********');
/** Shorter values would mask half of every text and protect nobody. */
const MIN_SECRET_CHARACTERS = 4;
const NOTHING = Buffer.alloc(0);

/** Returns what must not be shown: the value of each sensitive variable, or its lines where it has several. */
export function secretsOf(variables: readonly Variable[]): Buffer[] {
  const lines = variables.filter(({ sensitive }) => sensitive).flatMap(({ value }) => value.split(/\r?\n/));
  const secrets = new Set(lines.filter((line) => line.length >= MIN_SECRET_CHARACTERS));
  return [...secrets].map((secret) => Buffer.from(secret));
}

/** A stretch of bytes to leave out; its mask is written where it begins. */
interface Stretch {
  readonly start: number;
  end: number;
}

/**
 * Replaces every occurrence of a secret in the bytes of one stream by `********`; overlapping ones become one mask.
 *
 * What comes out does not depend on how the input was chunked: an end that may be the beginning of a secret is held
 * back until more comes or `end` is called, and is never longer than the longest secret.
 */
export class Masker {
  readonly #secrets: readonly Buffer[];
  #held = NOTHING;
  /** Bytes at the front of `#held` whose mask is written already. */
  #masked = 0;

  constructor(secrets: readonly Buffer[]) {
    this.#secrets = secrets;
  }

  /** Returns what may be shown; it is a part of `chunk` where nothing had to be masked. */
  push(chunk: Buffer): Buffer {
    if (this.#secrets.length === 0) return chunk;
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    return this.#release(bytes, this.#undecidedFrom(bytes));
  }

  /** Returns what was held back: the stream is over, so it was no beginning of a secret. */
  end(): Buffer {
    return this.#release(this.#held, this.#held.length);
  }

  /** Shows the bytes before `until`, masked, and keeps the others. */
  #release(bytes: Buffer, until: number): Buffer {
    const shown: Buffer[] = [];
    let at = 0;
    for (const { start, end } of this.#stretchesIn(bytes)) {
      if (start >= until) break;
      if (start > at) shown.push(bytes.subarray(at, start));
      // One that begins at 0 inside what is masked goes on with one from before.
      if (start > 0 || this.#masked === 0) shown.push(MASK);
      at = end;
    }
    if (at < until) shown.push(bytes.subarray(at, until));
    this.#masked = Math.max(0, Math.max(at, this.#masked) - until);
    // Copied: the chunk belongs to its reader.
    this.#held = until < bytes.length ? Buffer.from(bytes.subarray(until)) : NOTHING;
    return shown.length === 1 ? (shown[0] ?? NOTHING) : Buffer.concat(shown);
  }

  /** All occurrences, joined where they overlap, in their order; what is masked at the front counts as one. */
  #stretchesIn(bytes: Buffer): Stretch[] {
    const found: Stretch[] = this.#masked > 0 ? [{ start: 0, end: this.#masked }] : [];
    for (const secret of this.#secrets) {
      for (let at = bytes.indexOf(secret); at >= 0; at = bytes.indexOf(secret, at + 1)) {
        found.push({ start: at, end: at + secret.length });
      }
    }
    found.sort((left, right) => left.start - right.start);
    const joined: Stretch[] = [];
    for (const stretch of found) {
      const last = joined.at(-1);
      if (last && stretch.start < last.end) last.end = Math.max(last.end, stretch.end);
      else joined.push({ ...stretch });
    }
    return joined;
  }

  /** Where the longest end begins that more bytes could make a secret. */
  #undecidedFrom(bytes: Buffer): number {
    let from = bytes.length;
    for (const secret of this.#secrets) {
      const first = secret[0] ?? 0;
      const earliest = Math.max(0, bytes.length - secret.length + 1);
      for (let at = bytes.indexOf(first, earliest); at >= 0 && at < from; at = bytes.indexOf(first, at + 1)) {
        if (secret.compare(bytes, at, bytes.length, 0, bytes.length - at) === 0) from = at;
      }
    }
    return from;
  }
}
