import type { Witness } from '../executors/executor.ts';
import { parseEndRecord, type EndRecord } from '../protocol/end-record.ts';
import {
  MAX_FRAME_LINE_BYTES,
  openFrame,
  parseFrameHead,
  type JournalFrame,
} from '../protocol/journal-frame.ts';
import { decodeSegments } from '../protocol/journal-segment.ts';
import { FrameSource, type Stray } from './frame-source.ts';

/** An end record and the number of the line that it is. */
export interface FoundEnd {
  readonly record: EndRecord;
  readonly seq: number;
}

const TAIL_BYTES = 4 * MAX_FRAME_LINE_BYTES;

/** Looks for the authentic end record of a script in the last part of a witness; undefined when it is not there. */
export async function findEnd(witness: Witness, key: Buffer): Promise<FoundEnd | undefined> {
  const size = await witness.size();
  const tail = await witness.readAt(Math.max(0, size - TAIL_BYTES), TAIL_BYTES);
  return endIn(tail.toString('latin1').split('\n'), key);
}

/** Looks for the end record in a `result.json`, which carries the sealed frame and a copy in clear that proves nothing. */
export function endInResult(bytes: Buffer, key: Buffer): FoundEnd | undefined {
  try {
    const { endFrame } = JSON.parse(bytes.toString('utf8')) as { endFrame?: unknown };
    return typeof endFrame === 'string' ? endIn([endFrame.trimEnd()], key) : undefined;
  } catch {
    // The script may write there too; what is not JSON holds no end record.
    return undefined;
  }
}

/** Returns the first lines of a witness that are not frames, at most `limit` of them. */
export async function straysIn(witness: Witness, key: Buffer, limit: number): Promise<Stray[]> {
  const strays: Stray[] = [];
  for await (const item of new FrameSource(witness, key).scan(0)) {
    if (!('stray' in item)) continue;
    strays.push(item.stray);
    if (strays.length >= limit) break;
  }
  return strays;
}

function endIn(lines: readonly string[], key: Buffer): FoundEnd | undefined {
  for (const line of lines.toReversed()) {
    const head = parseFrameHead(line);
    const frame = head && openFrame(key, head);
    const record = frame && endRecordOf(frame);
    if (frame && record) return { record, seq: frame.last };
  }
  return undefined;
}

function endRecordOf(frame: JournalFrame): EndRecord | undefined {
  const end = decodeSegments(frame.payload)?.find((segment) => segment.kind === 'end');
  return end && parseEndRecord(end.bytes.toString('utf8'));
}
