/** From the bytes of a script to sealed frames and their two witnesses: what goes in comes out, byte for byte. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { test, type Test } from 'tap';
import { FrameWriter } from '../../src/runner/frame-writer.ts';
import { LineSplitter, MAX_PIECE_BYTES } from '../../src/runner/line-splitter.ts';
import { Masker, secretsOf } from '../../src/runner/masker.ts';
import { openStdoutWitness } from '../../src/runner/stdout-witness.ts';
import { VolumeFiles } from '../../src/runner/volume-files.ts';
import { VolumeJournal } from '../../src/runner/volume-journal.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';
import { decode, streamOf, until } from './staged-script.ts';

/** Bytes in which lines, characters of all lengths, invalid ones, NUL and `\r` meet. */
const text = fc
  .array(
    fc.oneof(
      fc
        .constantFrom('\n', '\r', '\0', 'a', 'é', '€', '🚢', 'password', 'pass')
        .map((part) => Buffer.from(part)),
      fc.uint8Array({ maxLength: 4 }).map((bytes) => Buffer.from(bytes)),
    ),
    { maxLength: 60 },
  )
  .map((parts) => Buffer.concat(parts));
const cuts = fc.array(fc.nat(200), { maxLength: 12 });

function chunksOf(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [0, ...at.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
}

function splitAll(
  chunks: readonly Buffer[],
  afterEach: (splitter: LineSplitter) => void = () => undefined,
): Buffer[] {
  const runs: Buffer[] = [];
  const splitter = new LineSplitter((run) => runs.push(Buffer.from(run)));
  for (const chunk of chunks) {
    // The reader's buffer is used again: what is kept of it must be a copy.
    const lent = Buffer.from(chunk);
    splitter.push(lent);
    lent.fill(0x58);
    afterEach(splitter);
  }
  splitter.end();
  return runs;
}

/** The pieces of runs: whole lines, and parts that no line end follows. */
function piecesOf(runs: readonly Buffer[]): string[] {
  return runs.flatMap((run) => run.toString('latin1').split(/(?<=\n)/));
}

test('LineSplitter', async (t) => {
  t.test('gives the same bytes and the same pieces however the input is chunked', async (t) => {
    fc.assert(
      fc.property(text, cuts, (bytes, at) => {
        const whole = splitAll([bytes]);
        const split = splitAll(chunksOf(bytes, at));
        return Buffer.concat(split).equals(bytes) && piecesOf(split).join('|') === piecesOf(whole).join('|');
      }),
    );
    t.pass();
  });

  t.test(
    'gives the same bytes when parts of lines are flushed in between, and never half a character',
    async (t) => {
      fc.assert(
        fc.property(fc.string({ unit: 'binary', maxLength: 40 }), cuts, (string, at) => {
          const bytes = Buffer.from(string);
          const runs = splitAll(chunksOf(bytes, at), (splitter) => splitter.flushPartial());
          const isText = runs.every((run) => Buffer.from(run.toString('utf8')).equals(run));
          return isText && Buffer.concat(runs).equals(bytes);
        }),
      );
      t.pass();
    },
  );

  t.test('cuts a line of 12 MiB into pieces of 64 KiB, each of them whole characters', async (t) => {
    const line = Buffer.from(`${'€'.repeat(4 * 1024 * 1024)}\n`);
    const runs = splitAll(chunksOf(line, [1, 70_000, 65_537, 3_000_001, 9_999_999]));
    t.ok(Buffer.concat(runs).equals(line));
    t.ok(runs.every((run) => run.length <= MAX_PIECE_BYTES + 1));
    t.ok(runs.every((run) => Buffer.from(run.toString('utf8')).equals(run)));
    t.same(
      runs.map((run) => run.length),
      splitAll([line]).map((run) => run.length),
    );
  });

  t.test(
    'cuts bytes that are no UTF-8 at the limit, and leaves a line of exactly the limit whole',
    async (t) => {
      t.same(
        splitAll([Buffer.alloc(MAX_PIECE_BYTES + 10, 0x80)]).map((run) => run.length),
        [MAX_PIECE_BYTES, 10],
      );
      const exact = Buffer.concat([Buffer.alloc(MAX_PIECE_BYTES, 0x61), Buffer.from('\n')]);
      t.same(splitAll([exact.subarray(0, MAX_PIECE_BYTES), exact.subarray(MAX_PIECE_BYTES)]), [exact]);
    },
  );

  t.test('hands lines through without copying them, at most 64 KiB at once', async (t) => {
    const chunk = Buffer.from('x'.repeat(79).concat('\n').repeat(2000));
    const runs: Buffer[] = [];
    new LineSplitter((run) => runs.push(run)).push(chunk);
    t.ok(runs.every((run) => run.buffer === chunk.buffer && run.length <= MAX_PIECE_BYTES + 1));
    t.equal(runs.length, 3);
  });
});

function maskAll(secrets: readonly string[], chunks: readonly Buffer[]): string {
  const masker = new Masker(secrets.map((secret) => Buffer.from(secret)));
  const shown = chunks.map((chunk) => {
    const lent = Buffer.from(chunk);
    const part = Buffer.from(masker.push(lent));
    lent.fill(0x58);
    return part;
  });
  return Buffer.concat([...shown, masker.end()]).toString('latin1');
}

test('Masker', async (t) => {
  const secrets = ['password', 'passport', 'wordy', 'aaaa', 'ssssp'];
  const near = fc
    .array(
      fc.constantFrom('p', 'a', 's', 'w', 'o', 'r', 'd', 'y', 'pass', 'word', 'port', 'aaaa', ' ', '\n'),
      { maxLength: 60 },
    )
    .map((parts) => Buffer.from(parts.join('')));

  t.test('invariant 11: shows no secret, and the same text however the input is chunked', async (t) => {
    fc.assert(
      fc.property(near, cuts, (bytes, at) => {
        const shown = maskAll(secrets, chunksOf(bytes, at));
        return shown === maskAll(secrets, [bytes]) && secrets.every((secret) => !shown.includes(secret));
      }),
      { numRuns: 500 },
    );
    t.pass();
  });

  t.test('leaves everything else as it is', async (t) => {
    fc.assert(
      fc.property(text, cuts, (bytes, at) => {
        return maskAll(['no such thing'], chunksOf(bytes, at)) === bytes.toString('latin1');
      }),
    );
    t.equal(maskAll(['hunter2!'], [Buffer.from('a hunter2! b hunter2 c')]), 'a ******** b hunter2 c');
  });

  t.test('finds a secret that a long line is cut through, and one that overlaps another', async (t) => {
    const bytes = Buffer.from(`${'x'.repeat(MAX_PIECE_BYTES - 3)}password${'y'.repeat(10)}`);
    const masker = new Masker([Buffer.from('password')]);
    const runs: Buffer[] = [];
    const splitter = new LineSplitter((run) => runs.push(Buffer.from(run)));
    for (const chunk of chunksOf(bytes, [MAX_PIECE_BYTES])) splitter.push(masker.push(chunk));
    splitter.push(masker.end());
    splitter.end();
    t.equal(Buffer.concat(runs).toString(), `${'x'.repeat(MAX_PIECE_BYTES - 3)}********${'y'.repeat(10)}`);
    t.equal(maskAll(['passwo', 'sword'], [Buffer.from('-password-')]), '-********-');
    t.equal(maskAll(['aaaa'], [Buffer.from('aaaaaaaaaaa'), Buffer.from('aaa b')]), '******** b');
  });

  t.test('holds back no more than the longest secret', async (t) => {
    const masker = new Masker([Buffer.from('aaaaaaaab')]);
    let shown = 0;
    for (let index = 0; index < 100; index += 1) shown += masker.push(Buffer.from('a'.repeat(1000))).length;
    t.ok(shown >= 100_000 - 9);
  });

  t.test(
    'secretsOf() takes sensitive values of four characters and more, and each such line of several',
    async (t) => {
      const variables = [
        { name: 'a', value: 'shown', sensitive: false },
        { name: 'b', value: 'abc', sensitive: true },
        { name: 'c', value: '-----BEGIN\r\nMIIB\nxy\n-----END', sensitive: true },
        { name: 'd', value: 'MIIB', sensitive: true },
      ];
      t.same(secretsOf(variables).map(String), ['-----BEGIN', 'MIIB', '-----END']);
    },
  );
});

function frameWriter(maxBytes = 1e9): { writer: FrameWriter; frames: Buffer[]; key: Buffer } {
  const key = randomBytes(32);
  const frames: Buffer[] = [];
  return { key, frames, writer: new FrameWriter({ key, maxBytes, write: (frame) => frames.push(frame) }) };
}

test('FrameWriter', async (t) => {
  t.test(
    'invariant 5: what is appended comes out of the frames, numbered without a gap, streams told apart',
    async (t) => {
      const parts = fc.array(fc.tuple(fc.constantFrom('stdout', 'stderr'), text), { maxLength: 20 });
      fc.assert(
        fc.property(parts, (appended) => {
          const { writer, frames, key } = frameWriter();
          const wanted = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
          for (const [kind, bytes] of appended) {
            const lent = Buffer.from(bytes);
            writer.append(kind, lent);
            lent.fill(0x58);
            wanted[kind].push(bytes);
            if (bytes.length % 3 === 0) writer.flush();
          }
          writer.flush();
          const found = decode(Buffer.concat(frames), key);
          return (
            found.strays.length === 0 &&
            found.digest === writer.journalDigest() &&
            found.pieces.length === writer.lines &&
            found.pieces.every(({ seq }, index) => seq === index + 1) &&
            (['stdout', 'stderr'] as const).every((kind) =>
              streamOf(found, kind).equals(Buffer.concat(wanted[kind])),
            )
          );
        }),
      );
      t.pass();
    },
  );

  t.test(
    'makes a frame at 64 KiB at once, otherwise the first after a silence soon and the next 50 ms later',
    async (t) => {
      const { writer, frames } = frameWriter();
      const began = performance.now();
      writer.append('stdout', Buffer.from('first\n'));
      await until('the first frame', () => frames.length === 1);
      writer.append('stdout', Buffer.from('second\n'));
      t.equal(frames.length, 1, 'gathered');
      await until('the second frame', () => frames.length === 2);
      t.ok(performance.now() - began >= 45);
      writer.append('stdout', Buffer.alloc(MAX_PIECE_BYTES, 0x61));
      t.equal(frames.length, 3, 'no wait');
      writer.append('stdout', Buffer.from('x\n'));
      writer.flush();
    },
  );

  t.test('keeps frames small enough to be frames', async (t) => {
    const { writer, frames, key } = frameWriter();
    writer.append('stdout', Buffer.from(`${'a'.repeat(60_000)}\n`));
    writer.append('stdout', Buffer.from(`${'b'.repeat(MAX_PIECE_BYTES)}\n`));
    writer.append('stderr', Buffer.from(`${'c'.repeat(MAX_PIECE_BYTES)}\n`));
    writer.flush();
    t.same(
      decode(Buffer.concat(frames), key).pieces.map(({ bytes }) => bytes.length),
      [60_000, MAX_PIECE_BYTES, MAX_PIECE_BYTES],
    );
  });

  t.test(
    'invariant 13: keeps whole lines up to the limit, counts the others, and says so once',
    async (t) => {
      const { writer, frames, key } = frameWriter(4000);
      for (let index = 0; index < 100; index += 1)
        writer.append('stdout', Buffer.from(`${'x'.repeat(79)}\n`.repeat(3)));
      writer.append('stderr', Buffer.from('one more\n'));
      writer.flush();
      const { pieces } = decode(Buffer.concat(frames), key);
      const kept = pieces.filter(({ kind }) => kind === 'stdout');
      t.equal(kept.length + writer.linesOverLimit, 301);
      t.ok(kept.length > 20 && kept.every(({ bytes, partial }) => bytes.length === 79 && !partial));
      t.ok(Buffer.concat(frames).length < 4500);
      t.same(pieces.filter(({ kind }) => kind === 'note').length, 1);
    },
  );

  t.test('takes nothing any more once the end is sealed', async (t) => {
    const { writer, frames, key } = frameWriter();
    writer.append('stdout', Buffer.from('x\n'));
    writer.flush();
    const end = writer.sealEnd({} as never);
    writer.note('too late');
    writer.flush();
    const { pieces } = decode(Buffer.concat([...frames, end]), key);
    t.same(
      pieces.map(({ seq, kind }) => [seq, kind]),
      [
        [1, 'stdout'],
        [2, 'end'],
      ],
    );
  });
});

/** A volume that can be made to refuse or to hang. */
class UnreliableFiles extends VolumeFiles {
  refuses = false;
  hangs: PromiseWithResolvers<undefined> | undefined;
  hung = 0;
  writes = 0;

  override get overdue(): number {
    return this.hung;
  }
  override async writeAt(path: string, buffers: readonly Buffer[], position: number): Promise<void> {
    this.writes += 1;
    await this.hangs?.promise;
    if (this.refuses) throw new Error('ENOSPC');
    return super.writeAt(path, buffers, position);
  }
}

test('VolumeJournal', async (t) => {
  const made = (t: Test) => {
    const path = `${temporaryFolder(t)}/journal`;
    const files = new UnreliableFiles({ deadlineMs: 1000 });
    return { path, files, journal: new VolumeJournal(files, path) };
  };

  t.test('writes frames in their order, and says after settle that none is missing', async (t) => {
    const { path, journal } = made(t);
    const frames = Array.from({ length: 3000 }, (_, index) => Buffer.from(`frame ${index}\n`));
    for (const frame of frames) journal.append(frame);
    t.equal(await journal.settle(), 0);
    await journal.end(Buffer.from('end\n'));
    t.equal(readFileSync(path, 'utf8'), `${frames.join('')}end\n`);
  });

  t.test('gathers what comes within 100 ms into one write', async (t) => {
    const { files, journal } = made(t);
    journal.append(Buffer.from('1\n'));
    await until('the first write', () => files.writes === 1);
    for (let index = 0; index < 50; index += 1) journal.append(Buffer.from('x\n'));
    t.equal(await journal.settle(), 0);
    t.equal(files.writes, 2);
  });

  t.test(
    'asks writers to wait while the volume is slow, and nobody to wait for one that takes nothing',
    async (t) => {
      const { path, files } = made(t);
      const journal = new VolumeJournal(files, path, { patienceMs: 300 });
      const frame = Buffer.alloc(1024 * 1024, 'x');
      files.hangs = Promise.withResolvers<undefined>();
      for (let index = 0; index < 4; index += 1) journal.append(frame);
      t.equal(journal.isCongested, false, 'there is room');
      journal.append(frame);
      t.equal(journal.isCongested, true);
      const drained = journal.drained();
      files.hangs.resolve(undefined);
      files.hangs = undefined;
      await drained;
      t.equal(await journal.settle(), 0, 'nothing was dropped');
      const stuck = new VolumeJournal(files, `${path}-2`, { patienceMs: 300 });
      files.refuses = true;
      for (let index = 0; index < 6; index += 1) stuck.append(frame);
      t.equal(stuck.isCongested, true);
      await stuck.drained();
      t.equal(stuck.isCongested, false, 'its patience is over');
      t.equal(await stuck.settle(), 6);
    },
  );

  t.test('a volume that was full for a while ends up with a whole file', async (t) => {
    const { path, files, journal } = made(t);
    files.refuses = true;
    journal.append(Buffer.from('1\n'));
    journal.append(Buffer.from('2\n'));
    await until('a refused write', () => files.writes === 1);
    files.refuses = false;
    journal.append(Buffer.from('3\n'));
    await until('another try', () => files.writes > 1);
    t.equal(await journal.settle(), 0);
    t.equal(readFileSync(path, 'utf8'), '1\n2\n3\n');
  });

  t.test('counts what a full volume does not have, after one last try', async (t) => {
    const { files, journal } = made(t);
    files.refuses = true;
    journal.append(Buffer.from('1\n'));
    journal.append(Buffer.from('2\n'));
    t.equal(await journal.settle(), 2);
  });

  t.test(
    'invariant 13: on a hung volume keeps 8 MiB, counts the rest, and takes one thread only',
    async (t) => {
      const { files, journal } = made(t);
      files.hangs = Promise.withResolvers();
      for (let index = 0; index < 120; index += 1) journal.append(Buffer.alloc(100 * 1024, 0x61));
      t.equal(files.writes, 1);
      files.hung = 1;
      files.refuses = true;
      files.hangs.resolve(undefined);
      t.equal(await journal.settle(), 120);
    },
  );
});

test('openStdoutWitness()', async (t) => {
  t.test('writes to a file, which it names, at once', async (t) => {
    const path = `${temporaryFolder(t)}/stdout`;
    const fd = openSync(path, 'w');
    t.teardown(() => closeSync(fd));
    const witness = openStdoutWitness(fd);
    t.equal(witness.path, path);
    witness.write(Buffer.from('frame\n'));
    t.equal(readFileSync(path, 'utf8'), 'frame\n');
    t.equal(await witness.end(Buffer.from('end\n'), 100), true);
  });

  t.test(
    'gives up the end at its deadline where the disk is full, and the script never notices',
    async (t) => {
      const fd = openSync('/dev/full', 'w');
      t.teardown(() => closeSync(fd));
      const witness = openStdoutWitness(fd);
      t.equal(witness.path, null);
      witness.write(Buffer.from('frame\n'));
      t.equal(witness.isCongested, false);
      t.equal(await witness.end(Buffer.from('end\n'), 150), false);
    },
  );
});
