import type { Witness } from '../../src/executors/executor.ts';
import type { EndRecord } from '../../src/protocol/end-record.ts';
import { sha256Of } from '../../src/protocol/digest.ts';
import { sealFrame } from '../../src/protocol/journal-frame.ts';
import { countPieces, encodeSegments, type JournalSegment } from '../../src/protocol/journal-segment.ts';

/** A witness on bytes in memory, for what a real runner will not write on demand. */
export class MadeWitness implements Witness {
  bytes: Buffer;
  reads = 0;

  constructor(bytes: Uint8Array | readonly Buffer[]) {
    this.bytes = bytes instanceof Uint8Array ? Buffer.from(bytes) : Buffer.concat(bytes);
  }
  async start(): Promise<number> {
    return 0;
  }

  size(): Promise<number> {
    return Promise.resolve(this.bytes.length);
  }
  readAt(position: number, length: number): Promise<Buffer> {
    this.reads += 1;
    return Promise.resolve(this.bytes.subarray(position, position + length));
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Frames as a runner writes them: each of the segment lists becomes one frame, numbered on. */
export function framesOf(key: Buffer, batches: readonly (readonly JournalSegment[])[]): Buffer[] {
  let first = 1;
  return batches.map((segments) => {
    const last = first + segments.reduce((count, { bytes }) => count + countPieces(bytes), 0) - 1;
    const frame = sealFrame(key, { first, last, payload: encodeSegments(segments) });
    first = last + 1;
    return frame;
  });
}

export function stdout(text: string, atMs = 1000): JournalSegment {
  return { kind: 'stdout', atMs, bytes: Buffer.from(text) };
}

export function stderr(text: string, atMs = 1000): JournalSegment {
  return { kind: 'stderr', atMs, bytes: Buffer.from(text) };
}

export function endSegment(record: Partial<EndRecord> = {}): JournalSegment {
  return { kind: 'end', atMs: 2000, bytes: Buffer.from(`${JSON.stringify(endRecord(record))}\n`) };
}

export function endRecord(record: Partial<EndRecord> = {}): EndRecord {
  return {
    exitCode: 0,
    signal: null,
    stoppedBy: null,
    fault: null,
    startedAt: '2026-01-01T00:00:00.000Z',
    endedAt: '2026-01-01T00:00:01.000Z',
    lines: 0,
    stdoutBytes: 0,
    stderrBytes: 0,
    journalDigest: sha256Of(''),
    framesNotOnVolume: 0,
    linesOverLimit: 0,
    leftBehind: 0,
    oomKills: null,
    ...record,
  };
}
