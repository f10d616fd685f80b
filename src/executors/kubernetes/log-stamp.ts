/** A line of a log with what the kubelet put in front: when the node's runtime read it. */
export interface StampedLine {
  /** As it stands there; the same instant is the same text. */
  readonly stamp: string;
  /** Nanoseconds since 1970. */
  readonly at: bigint;
  readonly bytes: Buffer;
}

/** Longest: 2026-11-24T15:34:58.123456789+02:00 and its space. */
const MAX_STAMP_BYTES = 36;
const SPACE = 0x20;
const STAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/**
 * Splits a line of a log that was asked for with timestamps; undefined where it has none.
 *
 * Source: pkg/kubelet/kuberuntime/logs/logs.go, logWriter.write(): RFC 3339 with nine digits and the node's zone.
 */
export function parseStampedLine(line: Buffer): StampedLine | undefined {
  const space = line.subarray(0, MAX_STAMP_BYTES).indexOf(SPACE);
  if (space < 0) return undefined;
  const stamp = line.toString('latin1', 0, space);
  const [, seconds, fraction = '', zone] = STAMP.exec(stamp) ?? [];
  const ms = Date.parse(`${seconds ?? ''}${zone ?? ''}`);
  if (Number.isNaN(ms)) return undefined;
  const at = BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
  return { stamp, at, bytes: line.subarray(space + 1) };
}

/** How far a log was taken: the last instant, and how many lines of that instant. */
export interface LogMark {
  readonly stamp: string;
  readonly at: bigint;
  readonly count: number;
}

/**
 * Tells which lines of a log that was opened anew were taken before.
 *
 * A log can only be asked for from an instant on, of whole seconds, so it begins with lines that are known. They are
 * passed over until the first new one; from there on every line counts, whatever its time: the clock of a node may be
 * set back. Then lines between the two times may come again in the next answer. Frames have numbers, so that is harmless;
 * to ask from the latest time ever seen instead would lose lines.
 */
export class LogPosition {
  #mark: LogMark | undefined;
  #toSkip = 0;
  #isCatchingUp = false;

  constructor(mark?: LogMark) {
    this.goOnFrom(mark);
  }

  get mark(): LogMark | undefined {
    return this.#mark;
  }

  /** An answer begins whose first lines may be known up to `mark`. */
  goOnFrom(mark: LogMark | undefined): void {
    this.#mark = mark;
    this.#toSkip = mark?.count ?? 0;
    this.#isCatchingUp = mark !== undefined;
  }

  /** Tells whether the next line of the answer is new, and counts it if it is. */
  isNew({ stamp, at }: Pick<StampedLine, 'stamp' | 'at'>): boolean {
    const mark = this.#mark;
    if (mark && this.#isCatchingUp) {
      if (at < mark.at) return false;
      if (at === mark.at && this.#toSkip > 0) {
        this.#toSkip -= 1;
        return false;
      }
      this.#isCatchingUp = false;
    }
    this.#mark = { stamp, at, count: mark?.at === at ? mark.count + 1 : 1 };
    return true;
  }
}
