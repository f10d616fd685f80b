/** What the runner writes and the agent reads back: sealed frames, segments, the end record (invariants 4, 5, 11). */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { test } from 'tap';
import { parseEndRecord } from '../../src/protocol/end-record.ts';
import {
  MAX_FRAME_LINE_BYTES,
  MAX_FRAME_PAYLOAD_BYTES,
  openFrame,
  parseFrameHead,
  sealFrame,
} from '../../src/protocol/journal-frame.ts';
import {
  countPieces,
  decodeSegments,
  encodeSegments,
  piecesOf,
  SEGMENT_OVERHEAD_BYTES,
  type JournalSegment,
} from '../../src/protocol/journal-segment.ts';
import {
  agentKeyName,
  openBytes,
  openText,
  scriptSealKey,
  sealBytes,
  sealText,
} from '../../src/protocol/seal.ts';
import type { ScriptStatus } from '../../src/protocol/script-status.ts';
import { parseTicket, scriptKeyFor, type ScriptKey } from '../../src/protocol/ticket.ts';
import { endRecord } from '../harness/made-journal.ts';

const key = randomBytes(32);
const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
const someBytes = fc.uint8Array({ minLength: 1, maxLength: 200 }).map((array) => Buffer.from(array));
const segments: fc.Arbitrary<JournalSegment[]> = fc.array(
  fc.record({
    kind: fc.constantFrom('stdout', 'stderr', 'note', 'end'),
    atMs: fc.integer({ min: 0, max: 2 ** 47 }),
    bytes: someBytes,
  }),
  { maxLength: 6 },
);
const frame = fc.record({
  first: fc.integer({ min: 1, max: 1e12 }),
  more: fc.integer({ min: 0, max: 1000 }),
  payload: someBytes,
});

function keyOf(text: string): ScriptKey {
  const ticket = parseTicket(text);
  if (ticket === undefined) throw new TypeError(`${text} is no ticket`);
  return scriptKeyFor('server', ticket);
}

function lineOf(sealed: Buffer): string {
  return sealed.toString('latin1').slice(0, -1);
}

test('openBytes() opens what sealBytes() sealed, and nothing when one bit, the key, nonce or context differs', async () => {
  fc.assert(
    fc.property(bytes, fc.string(), fc.nat(), (plain, context, at) => {
      const nonce = randomBytes(12);
      const sealed = sealBytes(key, nonce, context, plain);
      const opened = openBytes(key, nonce, context, sealed);
      const changed = Buffer.from(sealed);
      changed.writeUInt8(changed.readUInt8(at % sealed.length) ^ (1 << (at % 8)), at % sealed.length);
      return (
        opened?.equals(plain) === true &&
        openBytes(key, nonce, context, changed) === undefined &&
        openBytes(randomBytes(32), nonce, context, sealed) === undefined &&
        openBytes(key, randomBytes(12), context, sealed) === undefined &&
        openBytes(key, nonce, `${context}x`, sealed) === undefined &&
        openBytes(key, nonce, context, sealed.subarray(0, at % sealed.length)) === undefined
      );
    }),
  );
});

test('openText() opens what sealText() sealed, for its context alone, and never throws', async () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.string(), (text, context) => {
      const sealed = sealText(key, context, text);
      return (
        openText(key, context, sealed) === text &&
        openText(key, `${context}x`, sealed) === undefined &&
        openText(key, context, text) === undefined
      );
    }),
  );
});

test('sealText() never gives the same twice, so that equal secrets do not look equal', async (t) => {
  t.not(sealText(key, 'c', 'secret'), sealText(key, 'c', 'secret'));
});

test('scriptSealKey() gives another key for each agent key, script and purpose, always the same', async (t) => {
  const made = ['journal', 'variables', 'cookie'] as const;
  const keys = [key, randomBytes(32)].flatMap((agentKey) =>
    ['a', 'b'].flatMap((text) =>
      made.map((purpose) => scriptSealKey(agentKey, keyOf(text), purpose).toString('hex')),
    ),
  );
  t.equal(new Set(keys).size, keys.length);
  t.equal(scriptSealKey(key, keyOf('a'), 'journal').toString('hex'), keys[0]);
  t.match(agentKeyName(key), /^[0-9a-f]{16}$/);
  t.notOk(key.toString('hex').includes(agentKeyName(key)), 'the name does not tell the key');
});

test('openFrame() opens what sealFrame() sealed, one line of text each', async () => {
  fc.assert(
    fc.property(frame, ({ first, more, payload }) => {
      const sealed = sealFrame(key, { first, last: first + more, payload });
      const head = parseFrameHead(lineOf(sealed));
      const opened = head && openFrame(key, head);
      return (
        /^LS1 \d+-\d+ [A-Za-z0-9+/]+=*\n$/.test(sealed.toString('latin1')) &&
        opened?.first === first &&
        opened.last === first + more &&
        opened.payload.equals(payload)
      );
    }),
  );
});

test('invariant 4: openFrame() refuses a frame of another script, and one that was moved to other line numbers', async () => {
  fc.assert(
    fc.property(frame, fc.integer({ min: 1, max: 1e6 }), ({ first, more, payload }, shift) => {
      const head = parseFrameHead(lineOf(sealFrame(key, { first, last: first + more, payload })));
      return (
        head !== undefined &&
        openFrame(randomBytes(32), head) === undefined &&
        openFrame(key, { ...head, first: first + shift, last: head.last + shift }) === undefined &&
        openFrame(key, { ...head, last: head.last + shift }) === undefined
      );
    }),
  );
});

test('parseFrameHead() takes no stray line for a frame', async (t) => {
  const sealed = lineOf(sealFrame(key, { first: 1, last: 2, payload: Buffer.from('x') }));
  t.ok(parseFrameHead(sealed));
  const stray = [
    '',
    'LS1',
    'LS1 1-2',
    'LS1 1-2 ',
    'LS1 0-1 AAAA',
    'LS1 2-1 AAAA',
    'LS1 1-2 A=A',
    'LS2 1-2 AAAA',
  ];
  for (const line of [
    ...stray,
    `${sealed}\n`,
    `${sealed}\r`,
    ` ${sealed}`,
    `${sealed} `,
    sealed.toLowerCase(),
  ]) {
    t.equal(parseFrameHead(line), undefined, JSON.stringify(line));
  }
  t.equal(parseFrameHead(`LS1 1-2 ${'A'.repeat(MAX_FRAME_LINE_BYTES)}`), undefined, 'longer than any frame');
  fc.assert(fc.property(fc.string(), (line) => parseFrameHead(line) === undefined));
});

test('sealFrame() makes of the largest payload a line that parseFrameHead() takes', async (t) => {
  const payload = Buffer.alloc(MAX_FRAME_PAYLOAD_BYTES);
  const line = lineOf(sealFrame(key, { first: 999_999_999_999_998, last: 999_999_999_999_999, payload }));
  t.ok(line.length <= MAX_FRAME_LINE_BYTES);
  t.ok(parseFrameHead(line));
});

test('decodeSegments() reads what encodeSegments() wrote, every byte of it', async () => {
  fc.assert(
    fc.property(segments, (written) => {
      const payload = encodeSegments(written);
      const read = decodeSegments(payload);
      const size = written.reduce((sum, one) => sum + one.bytes.length + SEGMENT_OVERHEAD_BYTES, 0);
      return (
        payload.length === size &&
        read?.length === written.length &&
        written.every(({ kind, atMs, bytes: expected }, index) => {
          const one = read[index];
          return one?.kind === kind && one.atMs === atMs && one.bytes.equals(expected);
        })
      );
    }),
  );
});

test('decodeSegments() refuses a payload that was cut, or whose kinds or lengths do not fit', async (t) => {
  fc.assert(
    fc.property(segments, fc.nat(), (written, at) => {
      const payload = encodeSegments(written);
      const cut = payload.subarray(0, payload.length === 0 ? 0 : at % payload.length);
      const read = decodeSegments(cut);
      // A cut between two segments gives fewer of them; anywhere else, nothing.
      return read === undefined || encodeSegments(read).equals(cut);
    }),
  );
  const one = encodeSegments([{ kind: 'stdout', atMs: 0, bytes: Buffer.from('x') }]);
  const spoilt = (at: number, value: number): Buffer => {
    const copy = Buffer.from(one);
    copy[at] = value;
    return copy;
  };
  t.equal(decodeSegments(spoilt(0, 9)), undefined, 'a kind of a later version');
  t.equal(decodeSegments(spoilt(11, 0)), undefined, 'an empty segment');
  t.equal(decodeSegments(spoilt(11, 2)), undefined, 'longer than what is there');
});

test('invariant 5: piecesOf() numbers every line once, and joined they are the bytes of the script', async () => {
  fc.assert(
    fc.property(segments, fc.integer({ min: 1, max: 1e9 }), (written, first) => {
      const pieces = [...piecesOf(written, first)];
      const counted = written.reduce((sum, one) => sum + countPieces(one.bytes), 0);
      const joined = Buffer.concat(
        pieces.map((piece) => Buffer.concat([piece.bytes, Buffer.from(piece.partial ? '' : '\n')])),
      );
      return (
        pieces.length === counted &&
        pieces.every((piece, index) => piece.seq === first + index) &&
        joined.equals(Buffer.concat(written.map((one) => one.bytes)))
      );
    }),
  );
});

test('piecesOf() after a number gives exactly the rest', async () => {
  fc.assert(
    fc.property(segments, fc.nat({ max: 50 }), (written, after) => {
      const rest = [...piecesOf(written, 10)].filter(({ seq }) => seq > after);
      return JSON.stringify([...piecesOf(written, 10, after)]) === JSON.stringify(rest);
    }),
  );
});

test('piecesOf() keeps empty lines, NUL and carriage returns, and says where a line goes on', async (t) => {
  const written: JournalSegment[] = [{ kind: 'stdout', atMs: 5, bytes: Buffer.from('a\n\n\0b\r\nc') }];
  t.strictSame(
    [...piecesOf(written, 1)].map(({ seq, bytes: piece, partial }) => [seq, piece.toString(), partial]),
    [
      [1, 'a', false],
      [2, '', false],
      [3, '\0b\r', false],
      [4, 'c', true],
    ],
  );
});

const record = endRecord({ exitCode: 3, lines: 1, stdoutBytes: 2 });

test('parseEndRecord() reads what a runner says', async (t) => {
  t.strictSame(parseEndRecord(JSON.stringify(record)), record);
  const killed = { ...record, exitCode: null, signal: 'SIGKILL', stoppedBy: 'deadline', oomKills: 1 };
  t.strictSame(parseEndRecord(JSON.stringify(killed)), killed);
  const failed = { ...record, exitCode: null, fault: { code: 'STAGING_MISMATCH', says: 'files/a differs' } };
  t.strictSame(parseEndRecord(JSON.stringify(failed)), failed);
});

test('invariant 4: parseEndRecord() takes nothing for an end that lacks a member or has one of another type', async (t) => {
  for (const name of Object.keys(record)) {
    t.equal(parseEndRecord(JSON.stringify({ ...record, [name]: undefined })), undefined, `without ${name}`);
    t.equal(parseEndRecord(JSON.stringify({ ...record, [name]: ['x'] })), undefined, `${name} is a list`);
  }
  for (const more of [
    { exitCode: 1.5 },
    { lines: -1 },
    { stoppedBy: 'x' },
    { fault: { code: 'X', says: '' } },
  ]) {
    t.equal(parseEndRecord(JSON.stringify({ ...record, ...more })), undefined, JSON.stringify(more));
  }
  fc.assert(fc.property(fc.oneof(fc.json(), fc.string()), (text) => parseEndRecord(text) === undefined));
});

test('a status holds its journal page and outcome under the names of the HTTP interface', async (t) => {
  const status: ScriptStatus = {
    ticket: 't1',
    state: 'published',
    outcome: null,
    labels: {},
    journal: { next: 's0.a0', more: false, lines: [] },
  };
  t.strictSame(Object.keys(status), ['ticket', 'state', 'outcome', 'labels', 'journal']);
});
