/**
 * What one frame carries: segments, each a run of lines of one stream that arrived together.
 *
 *   segment = kind u8 · reserved u8 · at u48 (ms since 1970) · length u32 · bytes      (big endian)
 *
 * The bytes hold lines that end in `\n`. Where the last byte is not `\n`, the last piece is a part of a line: the
 * line was cut because it is long, because nothing followed for a while, or because the script ended without `\n`.
 * The bytes are the script's own, whatever they are; no piece is empty but a line that is empty.
 */
export interface JournalSegment {
  readonly kind: SegmentKind;
  readonly atMs: number;
  readonly bytes: Buffer;
}

/** `note` is the runner's own sentence, `end` the end record as JSON. */
export type SegmentKind = 'stdout' | 'stderr' | 'note' | 'end';

/** One line or part of a line as it stands in a segment, with its number. */
export interface JournalPiece {
  readonly seq: number;
  readonly kind: SegmentKind;
  readonly atMs: number;
  readonly bytes: Buffer;
  /** No `\n` followed: the next piece of the same stream goes on with this line. */
  readonly partial: boolean;
}

const KINDS: readonly SegmentKind[] = ['stdout', 'stderr', 'note', 'end'];
const HEADER_BYTES = 12;
const NEWLINE = 0x0a;

/** Bytes that a segment takes beside its own. */
export const SEGMENT_OVERHEAD_BYTES = HEADER_BYTES;

/** Writes segments one behind the other. */
export function encodeSegments(segments: readonly JournalSegment[]): Buffer {
  return Buffer.concat(
    segments.flatMap(({ kind, atMs, bytes }) => {
      const header = Buffer.alloc(HEADER_BYTES);
      header.writeUInt8(KINDS.indexOf(kind), 0);
      header.writeUIntBE(atMs, 2, 6);
      header.writeUInt32BE(bytes.length, 8);
      return [header, bytes];
    }),
  );
}

/** Reads what encodeSegments wrote; undefined where lengths or kinds do not fit. */
export function decodeSegments(payload: Buffer): JournalSegment[] | undefined {
  const segments: JournalSegment[] = [];
  let at = 0;
  while (at < payload.length) {
    if (payload.length - at < HEADER_BYTES) return undefined;
    const kind = KINDS[payload.readUInt8(at)];
    const length = payload.readUInt32BE(at + 8);
    const end = at + HEADER_BYTES + length;
    if (kind === undefined || length === 0 || end > payload.length) return undefined;
    segments.push({
      kind,
      atMs: payload.readUIntBE(at + 2, 6),
      bytes: payload.subarray(at + HEADER_BYTES, end),
    });
    at = end;
  }
  return segments;
}

/** Counts the pieces of a segment: its `\n`, and one more where it does not end in one. */
export function countPieces(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count += 1;
  return bytes.length > 0 && bytes[bytes.length - 1] !== NEWLINE ? count + 1 : count;
}

/** Splits segments into pieces numbered from `first`, skipping those up to and including `after`. */
export function* piecesOf(
  segments: readonly JournalSegment[],
  first: number,
  after = 0,
): Generator<JournalPiece> {
  let seq = first;
  for (const { kind, atMs, bytes } of segments) {
    for (let at = 0; at < bytes.length; seq += 1) {
      const newline = bytes.indexOf(NEWLINE, at);
      const end = newline < 0 ? bytes.length : newline;
      if (seq > after) yield { seq, kind, atMs, bytes: bytes.subarray(at, end), partial: newline < 0 };
      at = end + 1;
    }
  }
}
