/** The one function that makes a file appear (invariant 1). */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { test, type Test } from 'tap';
import type { Volume } from '../../src/mount/volume.ts';
import {
  folderOf,
  isTemporary,
  readOnce,
  temporaryBeside,
  writeAtomic,
  writeDurable,
  writeOnce,
} from '../../src/staging/atomic-file.ts';
import { copyDurable } from '../../src/staging/durable-copy.ts';
import { eventually } from '../harness/eventually.ts';
import { faultyVolume, LinklessVolume } from '../harness/faulty-volume.ts';
import { codeOf } from '../harness/stores.ts';
import { temporaryFolder, temporaryVolume, volumeAt } from '../harness/temporary-volume.ts';

const bytes = Buffer.from('whole');

async function madeLayout(volume: Volume): Promise<Volume> {
  for (const folder of volume.layout.folders) await volume.makeFolder(folder);
  return volume;
}

/** A volume whose first `operation` fails. */
async function volumeThatFailsOnce(t: Test, operation: string, errno: 'EIO' | 'ENOSPC'): Promise<Volume> {
  const folder = temporaryFolder(t);
  await madeLayout(volumeAt(folder));
  let armed = true;
  return faultyVolume(folder, (met) => {
    if (met !== operation || !armed) return undefined;
    armed = false;
    return { errno };
  });
}

test('temporaryBeside() gives a fresh name in the same folder, which isTemporary() knows', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (name) => {
      const target = `/v/folder/${name}`;
      const made = temporaryBeside(target);
      return isTemporary(made) && folderOf(made).startsWith('/v/folder') && made !== temporaryBeside(target);
    }),
  );
  for (const name of [
    'a',
    'a.tmp-0123456789abcdef',
    '~tmp-',
    'a~tmp-0123456789abcde',
    'a~tmp-0123456789abcdefg',
  ]) {
    t.notOk(isTemporary(name), name);
  }
});

test('invariant 1: writeAtomic() replaces a file whole, and a reader never sees a mix', async (t) => {
  const volume = await temporaryVolume(t);
  const target = volume.layout.upload('target');
  const texts = ['a', 'b', 'c'].map((letter) => Buffer.from(letter.repeat(200_000)));
  await writeAtomic(volume, target, texts[0] ?? bytes);
  let [reads, over] = [0, false];
  const reader = (async () => {
    while (!over) {
      const seen = readFileSync(target, 'utf8');
      if (seen.length !== 200_000 || new Set(seen).size !== 1) t.fail('a mix');
      reads += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let round = 0; round < 10; round += 1) {
    await Promise.all(texts.map((text) => writeAtomic(volume, target, text)));
  }
  over = true;
  await reader;
  t.ok(reads > 0);
  t.strictSame(readdirSync(volume.layout.uploads), ['target']);
});

test('invariant 1: writeAtomic() that fails at any step leaves the old file and no temporary one', async (t) => {
  for (const operation of ['create', 'write', 'fsync', 'close', 'rename']) {
    const volume = await volumeThatFailsOnce(t, operation, 'ENOSPC');
    const target = volume.layout.upload('target');
    writeFileSync(target, 'old');
    t.equal(await codeOf(writeAtomic(volume, target, bytes)), 'STORAGE_FULL', operation);
    t.equal(readFileSync(target, 'utf8'), 'old', operation);
    t.strictSame(readdirSync(volume.layout.uploads), ['target'], operation);
    await writeAtomic(volume, target, bytes);
    t.equal(readFileSync(target, 'utf8'), 'whole', `${operation}: again`);
  }
});

test('writeAtomic() tells the error of the write although the removal of what it made fails too', async (t) => {
  const folder = temporaryFolder(t);
  await madeLayout(volumeAt(folder));
  const volume = faultyVolume(folder, (operation) =>
    operation === 'write' ? { errno: 'EDQUOT' } : operation === 'unlink' ? { errno: 'EIO' } : undefined,
  );
  t.equal(await codeOf(writeAtomic(volume, volume.layout.upload('target'), bytes)), 'STORAGE_FULL');
  t.ok(readdirSync(volume.layout.uploads).every(isTemporary), 'the sweeper knows it by its name');
});

for (const [kind, make] of [
  ['with hard links', volumeAt],
  ['without hard links', (folder: string) => new LinklessVolume(folder)],
] as const) {
  test(`writeOnce() ${kind}: exactly one of many writers gets its bytes in, whole`, async (t) => {
    const folder = temporaryFolder(t);
    const volumes = Array.from({ length: 8 }, () => make(folder));
    for (const volume of volumes) await madeLayout(volume);
    const target = volumes[0]?.layout.upload('target') ?? '';
    t.equal(await readOnce(volumeAt(folder), target, 100), undefined);
    const made = await Promise.all(
      volumes.map((volume, index) => writeOnce(volume, target, Buffer.from(`writer ${index}`))),
    );
    t.equal(made.filter(Boolean).length, 1);
    const winner = made.indexOf(true);
    for (const volume of volumes)
      t.equal((await readOnce(volume, target, 100))?.toString(), `writer ${winner}`);
    t.strictSame(readdirSync(volumeAt(folder).layout.uploads), ['target'], 'and nothing else is left');
    t.equal(await writeOnce(make(folder), target, bytes), false);
  });
}

test('writeOnce() that fails at any step leaves nothing, so that the next one can have the name', async (t) => {
  for (const operation of ['create', 'write', 'fsync', 'close', 'link']) {
    const volume = await volumeThatFailsOnce(t, operation, 'EIO');
    const target = volume.layout.upload('target');
    t.equal(await codeOf(writeOnce(volume, target, bytes)), 'STORAGE_ERROR', operation);
    t.strictSame(readdirSync(volume.layout.uploads), [], operation);
    t.equal(await writeOnce(volume, target, bytes), true, operation);
  }
});

test('writeDurable() refuses a name that is taken, and keeps what is there', async (t) => {
  const volume = await temporaryVolume(t);
  const target = volume.layout.upload('target');
  writeFileSync(target, 'old');
  t.equal(await codeOf(writeDurable(volume, target, bytes)), 'STORAGE_ERROR');
  t.equal(readFileSync(target, 'utf8'), 'old');
  await writeDurable(volume, `${target}2`, bytes.subarray(1, 3), 0o600);
  t.equal(readFileSync(`${target}2`, 'utf8'), 'ho', 'a part of a buffer is that part');
  t.equal(statSync(`${target}2`).mode & 0o777, 0o600);
});

test('copyDurable() copies every byte, in pieces, and tells when there is nothing to copy', async (t) => {
  const volume = await temporaryVolume(t);
  const [from, to] = [volume.layout.upload('from'), volume.layout.upload('to')];
  t.equal(await copyDurable(volume, from, to, 0o444), false);
  t.notOk(existsSync(to));
  const content = Buffer.alloc(2_500_000, 'abc');
  writeFileSync(from, content);
  t.equal(await copyDurable(volume, from, to, 0o444), true);
  t.ok(readFileSync(to).equals(content));
  t.equal(statSync(to).mode & 0o777, 0o444);
  t.equal(await codeOf(copyDurable(volume, from, to, 0o444)), 'STORAGE_ERROR', 'the name is taken');
});

test('copyDurable() that fails leaves no copy', async (t) => {
  for (const operation of ['read', 'write', 'fchmod', 'fsync']) {
    const folder = temporaryFolder(t);
    await madeLayout(volumeAt(folder));
    const volume = faultyVolume(folder, (met) => (met === operation ? { errno: 'ENOSPC' } : undefined));
    const [from, to] = [volume.layout.upload('from'), volume.layout.upload('to')];
    writeFileSync(from, 'x');
    t.equal(await codeOf(copyDurable(volume, from, to, 0o444)), 'STORAGE_FULL', operation);
    await eventually(() => !existsSync(to));
  }
});
