import { LineJoiner, type JoinedLine } from './line-joiner.ts';
import { parseStampedLine, type LogPosition } from './log-stamp.ts';

/** New lines of one chunk, without their stamps, each with its `\n`. */
export interface LineBatch {
  readonly lines: Buffer;
  /** Of the last of them, in nanoseconds since 1970. */
  readonly at: bigint;
}

/** No frame is longer; what is, is cut. */
const MAX_LINE_BYTES = 1024 * 1024;
const NEWLINE = Buffer.from('\n');
const MAX_TOLD_CHARACTERS = 200;

/** Makes batches of new lines of the chunks of one answer. */
export class LogLines {
  readonly #joiner: LineJoiner;
  readonly #position: LogPosition;
  readonly #stray: (text: string) => void;
  /** An answer that goes on from a known line may begin in the middle of one that was long: without a stamp. */
  #mayBeginInside: boolean;

  /** `position` counts what is new; `stray` is told what is no line of the container, or not a whole one. */
  constructor(position: LogPosition, stray: (text: string) => void, maxLineBytes: number = MAX_LINE_BYTES) {
    this.#joiner = new LineJoiner(maxLineBytes);
    this.#position = position;
    this.#stray = stray;
    this.#mayBeginInside = position.mark !== undefined;
  }

  /** Returns the new lines that `chunk` completes; undefined where there is none. */
  push(chunk: Buffer): LineBatch | undefined {
    const parts: Buffer[] = [];
    let last = 0n;
    for (const line of this.#joiner.push(chunk)) {
      const stamped = this.#read(line);
      if (stamped === undefined) continue;
      parts.push(stamped.bytes, NEWLINE);
      last = stamped.at;
    }
    return parts.length === 0 ? undefined : { lines: Buffer.concat(parts), at: last };
  }

  /** Returns what came of a line whose end did not come, as it stands in the answer; empty where there is nothing. */
  takeRest(): Buffer {
    return this.#joiner.take().bytes;
  }

  #read(line: JoinedLine): { bytes: Buffer; at: bigint } | undefined {
    const isFirst = this.#mayBeginInside;
    this.#mayBeginInside = false;
    const stamped = parseStampedLine(line.bytes);
    if (stamped === undefined) {
      const text = line.bytes.toString('utf8', 0, MAX_TOLD_CHARACTERS);
      if (!isFirst && text !== '') this.#stray(text);
      return undefined;
    }
    if (!this.#position.isNew(stamped)) return undefined;
    if (line.cut) this.#stray('a line is longer than a line may be and was cut');
    return stamped;
  }
}
