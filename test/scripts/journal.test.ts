import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import type { JournalLine } from '../../src/protocol/script-status.ts';
import { endInResult, findEnd, straysIn } from '../../src/scripts/end-search.ts';
import { FrameSource } from '../../src/scripts/frame-source.ts';
import { readScriptLines, type ReadOptions } from '../../src/scripts/journal-reader.ts';
import { PageBuilder } from '../../src/scripts/page-builder.ts';
import { encodeSegments, piecesOf, type JournalSegment } from '../../src/protocol/journal-segment.ts';
import { VolumeWitness } from '../../src/scripts/volume-witness.ts';
import { endSegment, framesOf, MadeWitness, stderr, stdout } from '../harness/made-journal.ts';
import { temporaryVolume } from '../harness/temporary-volume.ts';
import { writeAtomic } from '../../src/staging/atomic-file.ts';

const key = randomBytes(32);
const nothing = new MadeWitness([]);

function options(more: Partial<ReadOptions> = {}): ReadOptions {
  return { key, after: 0, maxLines: 1000, maxBytes: 1 << 20, over: true, ...more };
}

t.test('the reader tells streams apart, keeps the order, and leaves the end record out', async (t) => {
  const live = new MadeWitness(
    framesOf(key, [[stdout('a\nb\n'), stderr('c\n')], [stdout('d')], [endSegment()]]),
  );
  const page = await readScriptLines({ live, volume: nothing }, options());
  t.strictSame(
    page.lines.map(({ seq, stream, text, partial }) => [seq, stream, text, partial ?? false]),
    [
      [1, 'stdout', 'a', false],
      [2, 'stdout', 'b', false],
      [3, 'stderr', 'c', false],
      [4, 'stdout', 'd', true],
    ],
  );
  t.equal(page.last, 5, 'the end record has a number too');
});

t.test('a line that is not UTF-8 keeps its bytes (invariant 5)', async (t) => {
  const bytes = Buffer.from([0x66, 0xff, 0x00, 0x0d, 0x0a]);
  const live = new MadeWitness(framesOf(key, [[{ kind: 'stdout', atMs: 1, bytes }]]));
  const [line] = (await readScriptLines({ live, volume: nothing }, options())).lines;
  t.strictSame(Buffer.from(line?.base64 ?? '', 'base64'), bytes.subarray(0, 4));
});

t.test(
  'reading on after any line gives every other line once, whatever the page size (invariant 5)',
  async (t) => {
    const batches = fc.array(fc.array(fc.constantFrom('x\n', 'yy\nz\n', '\n', 'part'), { minLength: 1 }), {
      maxLength: 12,
    });
    await fc.assert(
      fc.asyncProperty(batches, fc.integer({ min: 1, max: 5 }), async (texts, maxLines) => {
        const frames = framesOf(
          key,
          texts.map((batch) => batch.map((text) => stdout(text))),
        );
        const live = new MadeWitness(frames);
        const whole = await readScriptLines({ live, volume: nothing }, options());
        const paged: string[] = [];
        let after = 0;
        let hint: number | undefined;
        for (let more = true; more;) {
          const page = await readScriptLines(
            { live, volume: nothing },
            options({ after, maxLines, ...(hint !== undefined && { hint }) }),
          );
          paged.push(...page.lines.map(({ id }) => id));
          ({ last: after, hint, more } = page);
        }
        t.strictSame(
          paged,
          whole.lines.map(({ id }) => id),
        );
      }),
      { numRuns: 100 },
    );
  },
);

t.test(
  'what one witness lacks comes from the other, and what both lack is stated (invariant 5)',
  async (t) => {
    const frames = framesOf(key, [
      [stdout('1\n')],
      [stdout('2\n3\n')],
      [stdout('4\n')],
      [stdout('5\n')],
      [endSegment()],
    ]);
    const pick = (...which: number[]): MadeWitness =>
      new MadeWitness(which.flatMap((index) => frames[index] ?? []));
    const texts = async (
      live: MadeWitness | undefined,
      volume: MadeWitness,
      over = true,
    ): Promise<string[]> =>
      (await readScriptLines({ live, volume }, options({ over }))).lines.map(({ text }) => text);

    t.strictSame(await texts(pick(0, 2, 4), pick(1, 3)), ['1', '2', '3', '4', '5'], 'each has the half');
    t.strictSame(await texts(undefined, pick(0, 1, 2, 3, 4)), ['1', '2', '3', '4', '5'], 'the volume alone');
    t.strictSame(
      await texts(pick(0, 1), pick(0, 1, 2, 3, 4)),
      ['1', '2', '3', '4', '5'],
      'the live one was cut off',
    );
    const gap = await texts(pick(0, 3, 4), pick(0, 1, 4));
    t.strictSame([gap.length, gap[4]], [5, '5']);
    t.match(gap[3], /lines 4 to 4 are lost/);
    t.strictSame(
      await texts(pick(0, 3), pick(0), false),
      ['1'],
      'while it runs, the other one may only be late',
    );
    const tail = await readScriptLines({ live: pick(0), volume: pick(0) }, options({ total: 5 }));
    t.match(tail.lines.at(-1)?.text, /lines 2 to 5 are lost/, 'the end record knew of more');
  },
);

t.test(
  'text that looks like a frame, of this script or another, is a stray and changes nothing',
  async (t) => {
    const other = framesOf(randomBytes(32), [[stdout('forged\n')], [endSegment()]]);
    const own = framesOf(key, [[stdout('real\n')], [endSegment({ exitCode: 7 })]]);
    const replayed = (own[1]?.toString() ?? '').replace('LS1 2-2', 'LS1 1-1');
    const live = new MadeWitness([
      ...other,
      Buffer.from('LS1 1-1 AAAA\nnode: a warning\n'),
      Buffer.from(replayed),
      ...own,
    ]);
    const page = await readScriptLines({ live, volume: nothing }, options());
    t.strictSame(
      page.lines.map(({ text }) => text),
      ['real'],
    );
    t.equal((await straysIn(live, key, 50)).length, 5);
    t.equal((await straysIn(live, key, 2)).length, 2, 'and no more than the limit');
  },
);

t.test('a place is found in a long journal by few reads', async (t) => {
  const batches = Array.from({ length: 600 }, (_, index) => [stdout(`${'x'.repeat(20_000)}${index}\n`)]);
  const live = new MadeWitness(framesOf(key, batches));
  for (const seq of [1, 2, 299, 300, 599, 600]) {
    live.reads = 0;
    const page = await readScriptLines({ live, volume: nothing }, options({ after: seq - 1, maxLines: 1 }));
    t.equal(page.lines[0]?.seq, seq);
    t.ok(live.reads <= 12, `${live.reads} reads for line ${seq} of ${live.bytes.length} bytes`);
  }
});

t.test('a last line without its end is not there yet', async (t) => {
  const [frame = Buffer.alloc(0)] = framesOf(key, [[stdout('a\n')]]);
  for (const cut of [1, 10, frame.length - 1]) {
    const items = [];
    for await (const item of new FrameSource(new MadeWitness(frame.subarray(0, cut)), key).scan(0))
      items.push(item);
    t.strictSame(items, [], `cut at ${cut}`);
  }
});

t.test(
  'the end record is found behind megabytes of strays before it, and only an authentic one',
  async (t) => {
    const frames = framesOf(key, [[stdout('a\n')], [endSegment({ exitCode: 3 })]]);
    const live = new MadeWitness([Buffer.alloc(3_000_000, 'x\n'), ...frames]);
    t.equal((await findEnd(live, key))?.record.exitCode, 3);
    t.equal(await findEnd(live, randomBytes(32)), undefined);
    t.equal(await findEnd(new MadeWitness(frames.slice(0, 1)), key), undefined);
    const result = { endFrame: frames[1]?.toString(), outcome: { exitCode: 0 } };
    t.equal(
      endInResult(Buffer.from(JSON.stringify(result)), key)?.record.exitCode,
      3,
      'the copy in clear proves nothing',
    );
    t.equal(endInResult(Buffer.from('{"exitCode":0}'), key), undefined);
    t.equal(endInResult(Buffer.from('not json'), key), undefined);
  },
);

t.test('the witness on the volume is empty where the journal is missing or no plain file', async (t) => {
  const volume = await temporaryVolume(t);
  const path = `${volume.layout.root}/journal`;
  const witness = new VolumeWitness(volume, path);
  t.equal(await witness.size(), 0);
  await writeAtomic(volume, path, Buffer.from('abc'));
  t.equal(await witness.size(), 3);
  t.equal((await witness.readAt(1, 10)).toString(), 'bc');
  const folder = new VolumeWitness(volume, volume.layout.root);
  t.equal(await folder.size(), 0);
  t.equal((await folder.readAt(0, 10)).length, 0);
  await witness.close();
});

t.test(
  'invariant 5: PageBuilder gives the lines of any bytes, from any place, over any number of pages',
  (t) => {
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 60 }),
      fc
        .string({ unit: 'grapheme', minLength: 1 })
        .map((text) => new TextEncoder().encode(`${text}\n\n${text}`)),
    );
    const segments = fc.array(
      fc.record({ kind: fc.constantFrom('stdout' as const, 'stderr' as const, 'note' as const), bytes }),
      { minLength: 1, maxLength: 5 },
    );
    fc.assert(
      fc.property(segments, fc.nat(8), fc.integer({ min: 1, max: 4 }), (made, after, maxLines) => {
        const written: JournalSegment[] = made.map((one) => ({
          ...one,
          atMs: 1000,
          bytes: Buffer.from(one.bytes),
        }));
        const pieces = [...piecesOf(written, 1)];
        const frame = { first: 1, last: pieces.length, payload: encodeSegments(written) };
        const lines: JournalLine[] = [];
        for (let at = after; at < pieces.length;) {
          const page = new PageBuilder({ after: at, maxLines, maxBytes: 1e6 });
          page.take(frame);
          const { lines: some, last } = page.build();
          lines.push(...some);
          if (last === at) return false;
          at = last;
        }
        const expected = pieces.slice(after);
        return (
          lines.length === expected.length &&
          expected.every((piece, index) => {
            const line = lines[index];
            const text =
              line?.base64 === undefined ? Buffer.from(line?.text ?? '') : Buffer.from(line.base64, 'base64');
            return (
              line?.seq === piece.seq && text.equals(piece.bytes) && (line.partial ?? false) === piece.partial
            );
          })
        );
      }),
    );
    t.end();
  },
);
