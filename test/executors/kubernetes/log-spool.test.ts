/** The last part of a log on local disk, read by many while it grows at one end and goes at the other. */
import { mkdirSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'tap';
import { LogSpool } from '../../../src/executors/kubernetes/log-spool.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';

test('LogSpool keeps positions from the first byte on, and drops whole appends from the beginning', async (t) => {
  const folder = join(temporaryFolder(t), 'a', 'spool');
  const spool = await LogSpool.open(folder, { segmentBytes: 10, maxSegments: 2 });
  const witness = spool.openWitness();
  t.same([await witness.start(), await witness.size()], [0, 0]);
  t.equal((await witness.readAt(0, 10)).length, 0);
  for (const line of ['aaaaaa\n', 'bbbbbb\n', 'cccccc\n', 'dddddd\n']) await spool.append(Buffer.from(line));
  t.equal(String(await witness.readAt(0, 100)), 'aaaaaa\nbbbbbb\ncccccc\ndddddd\n');
  t.equal(String(await witness.readAt(5, 12)), 'a\nbbbbbb\nccc');
  await spool.append(Buffer.from('eeeeee\n'));
  t.same([await witness.start(), await witness.size()], [14, 35]);
  t.equal((await witness.readAt(13, 10)).length, 0, 'nothing from a position that was dropped');
  t.equal(String(await witness.readAt(14, 100)), 'cccccc\ndddddd\neeeeee\n');
  t.equal((await witness.readAt(35, 10)).length, 0);
  t.equal(readdirSync(folder).length, 2);
  await witness.close();
  await spool.remove();
  t.equal((await witness.readAt(20, 10)).length, 0);
  t.throws(() => readdirSync(folder), { code: 'ENOENT' });
  await t.rejects(spool.append(Buffer.from('x')));
});

test('open() begins empty, whatever an agent before left', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, '0000000000000000'), 'old');
  const spool = await LogSpool.open(folder);
  t.same([spool.start, spool.size, readdirSync(folder)], [0, 0, []]);
  await t.rejects(LogSpool.open(folder, { maxSegments: 1 }), RangeError);
});

test('append() that fails appends nothing, and the same may be tried again', async (t) => {
  const folder = join(temporaryFolder(t), 'spool');
  const spool = await LogSpool.open(folder, { segmentBytes: 1 });
  await spool.append(Buffer.from('a\n'));
  // A folder where the next file should be.
  mkdirSync(join(folder, '0000000000000002'));
  await t.rejects(spool.append(Buffer.from('b\n')), { code: 'EISDIR' });
  t.equal(spool.size, 2);
  rmdirSync(join(folder, '0000000000000002'));
  await spool.append(Buffer.from('b\n'));
  t.equal(String(await spool.openWitness().readAt(0, 10)), 'a\nb\n');
});

test('readers see a part of what was appended and nothing else, while segments go', async (t) => {
  const base = temporaryFolder(t);
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 40 }),
      fc.nat(60),
      async (sizes, ahead) => {
        const spool = await LogSpool.open(join(base, String((runs += 1))), {
          segmentBytes: 50,
          maxSegments: 3,
        });
        const whole = Buffer.from(sizes.map((size, index) => `${String(index).repeat(size)}\n`).join(''));
        const witness = spool.openWitness();
        const reads: Promise<boolean>[] = [];
        for (let at = 0, index = 0; at < whole.length; index += 1) {
          const end = whole.indexOf('\n', at) + 1;
          // Not awaited: it goes on while the spool does.
          for (const position of [spool.start, spool.start + ahead])
            reads.push(
              witness
                .readAt(position, 70)
                .then((got) => whole.subarray(position, position + got.length).equals(got)),
            );
          await spool.append(whole.subarray(at, end));
          at = end;
        }
        const start = await witness.start();
        const rest = await witness.readAt(start, whole.length);
        const isLineStart = start === 0 || whole[start - 1] === 0x0a;
        return isLineStart && rest.equals(whole.subarray(start)) && (await Promise.all(reads)).every(Boolean);
      },
    ),
    { numRuns: 50 },
  );
  t.pass();
});
