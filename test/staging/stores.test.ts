/** Blobs and packages on the volume (invariants 1, 2 and 13). */
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { PassThrough, Readable } from 'node:stream';
import fc from 'fast-check';
import { test } from 'tap';
import type { Volume } from '../../src/mount/volume.ts';
import { sha256Of } from '../../src/protocol/digest.ts';
import { parsePackageId, parsePackageVersion } from '../../src/protocol/package-name.ts';
import { BlobStore } from '../../src/staging/blob-store.ts';
import { PackageStore, parsePackagePointer, type PackagePointer } from '../../src/staging/package-store.ts';
import { faultyVolume, LinklessVolume } from '../harness/faulty-volume.ts';
import { codeOf, storesOn } from '../harness/stores.ts';
import { temporaryFolder, temporaryVolume, volumeAt } from '../harness/temporary-volume.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

function sure<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('the fixture breaks a rule');
  return value;
}

const web = sure(parsePackageId('web'));
const v1 = sure(parsePackageVersion('1.0'));

function bodyOf(bytes: Buffer): Readable {
  return Readable.from([bytes], { objectMode: false });
}

/** A body that fails the test when anybody reads it. */
function untouched(t: { fail: (message: string) => unknown }): Readable {
  return new Readable({ read: () => void t.fail('the body was read') });
}

/** All files below the volume that hold bytes of clients. */
function kept(volume: Volume): string[] {
  const { layout } = volume;
  return [layout.blobs, layout.packages, layout.uploads].flatMap((folder) =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => entry.name),
  );
}

test('invariant 2: a blob is named by the digest of the bytes that arrived, whole and read-only', async (t) => {
  const volume = await temporaryVolume(t);
  const { blobs } = storesOn(volume);
  const bytes = randomBytes(100_000);
  const digest = sha256Of(bytes);
  t.equal(await blobs.find(digest), undefined);
  t.strictSame(await blobs.receive(bodyOf(bytes), { length: bytes.length }), {
    digest,
    size: 100_000,
    created: true,
  });
  t.strictSame(await blobs.find(digest), { size: 100_000 });
  t.ok(readFileSync(volume.layout.blob(digest)).equals(bytes));
  t.equal(statSync(volume.layout.blob(digest)).mode & 0o777, 0o444);
  t.strictSame(kept(volume), [digest]);
});

for (const [kind, make] of [
  ['with hard links', volumeAt],
  ['without hard links', (folder: string) => new LinklessVolume(folder)],
] as const) {
  test(`receive() ${kind}: the same bytes from many clients and agents at once become one blob`, async (t) => {
    const folder = temporaryFolder(t);
    const volumes = Array.from({ length: 6 }, () => make(folder));
    for (const volume of volumes) for (const place of volume.layout.folders) await volume.makeFolder(place);
    const bytes = randomBytes(300_000);
    const received = await Promise.all(
      volumes.map((volume) => storesOn(volume).blobs.receive(bodyOf(bytes))),
    );
    const created = received.filter((one) => one.created).length;
    t.ok(kind === 'with hard links' ? created === 1 : created >= 1, `${created} created it`);
    t.ok(received.every(({ digest }) => digest === sha256Of(bytes)));
    t.strictSame(kept(volumeAt(folder)), [sha256Of(bytes)]);
    t.equal((await storesOn(make(folder)).blobs.receive(bodyOf(bytes))).created, false, 'and later');
  });
}

test('receive() does not read a body whose announced digest is there', async (t) => {
  const volume = await temporaryVolume(t);
  const { blobs } = storesOn(volume, { maxUploads: 1 });
  const bytes = Buffer.from('there');
  const { digest } = await blobs.receive(bodyOf(bytes));
  const accept = () => t.fail('nothing was to be accepted');
  t.strictSame(await blobs.receive(untouched(t), { digest, accept }), { digest, size: 5, created: false });
});

test('receive() refuses before a byte is read: too large, no room, too many', async (t) => {
  const volume = await temporaryVolume(t);
  const accept = () => t.fail('it was accepted');
  const { freeBytes } = await volume.space();
  const small = storesOn(volume, { maxBytes: 1000 }).blobs;
  t.equal(await codeOf(small.receive(untouched(t), { length: 1001, accept })), 'BODY_TOO_LARGE');
  const full = storesOn(volume, { reserveBytes: freeBytes * 2 }).blobs;
  t.equal(await codeOf(full.receive(untouched(t), { length: 1, accept })), 'STORAGE_FULL');
  const busy = storesOn(volume, { maxUploads: 1 }).blobs;
  const source = new PassThrough();
  const first = busy.receive(source, { length: 3 });
  t.equal(await codeOf(busy.receive(untouched(t), { length: 1, accept })), 'UPLOADS_TOO_MANY');
  source.end('end');
  await first;
  t.strictSame(busy.space.load, { uploads: 0, reservedBytes: 0 });
  t.strictSame(kept(volume), [sha256Of('end')]);
});

test('receive() calls accept once, after the checks and before the first byte', async (t) => {
  const { blobs } = storesOn(await temporaryVolume(t));
  const order: string[] = [];
  const source = new Readable({
    read() {
      order.push('read');
      this.push(order.length > 2 ? null : 'x');
    },
  });
  await blobs.receive(source, { accept: () => order.push('accept') });
  t.equal(order[0], 'accept');
  t.equal(order.filter((step) => step === 'accept').length, 1);
});

test('invariant 1: receive() that meets an error of the disk at any step leaves nothing, and its space is free again', async (t) => {
  const bytes = randomBytes(300_000);
  // Each operation of a whole upload, one after the other, fails once.
  for (let step = 1; ; step += 1) {
    const folder = temporaryFolder(t);
    for (const place of volumeAt(folder).layout.folders) await volumeAt(folder).makeFolder(place);
    let [count, failed] = [0, ''];
    const volume = faultyVolume(folder, (operation) => {
      count += 1;
      if (count !== step) return undefined;
      failed = operation;
      return { errno: 'ENOSPC' };
    });
    const { blobs } = storesOn(volume);
    const code = await codeOf(
      blobs.receive(bodyOf(bytes), { length: bytes.length, digest: sha256Of(bytes) }),
    );
    if (failed === '') break;
    t.match(code, failed === 'unlink' ? 'no error' : 'STORAGE_FULL', `${step}: ${failed}`);
    const left = kept(volume).filter((name) => name !== sha256Of(bytes));
    t.ok(failed === 'unlink' || left.length === 0, `${step}: ${failed} leaves ${left.join()}`);
    t.strictSame(blobs.space.load, { uploads: 0, reservedBytes: 0 }, `${step}: ${failed}`);
    const again = await storesOn(volumeAt(folder)).blobs.receive(bodyOf(bytes));
    t.equal(again.digest, sha256Of(bytes), `${step}: again`);
  }
});

test('find() marks a blob as used, at most once a day', async (t) => {
  const volume = await temporaryVolume(t);
  const { blobs } = storesOn(volume);
  const { digest } = await blobs.receive(bodyOf(Buffer.from('x')));
  const path = volume.layout.blob(digest);
  const [hours, days] = [new Date(Date.now() - DAY_MS / 2), new Date(Date.now() - 2 * DAY_MS)];
  utimesSync(path, hours, hours);
  await blobs.find(digest);
  t.equal(statSync(path).mtimeMs, hours.getTime());
  utimesSync(path, days, days);
  await blobs.find(digest);
  t.ok(statSync(path).mtimeMs > hours.getTime());
});

test('place() gives a blob a second name, or a copy where the file system has no hard links', async (t) => {
  const folder = temporaryFolder(t);
  for (const volume of [volumeAt(folder), new LinklessVolume(folder)]) {
    for (const place of volume.layout.folders) await volume.makeFolder(place);
    const { blobs } = storesOn(volume);
    const { digest } = await blobs.receive(bodyOf(Buffer.from('blob')));
    const target = volume.layout.upload(`target-${volume.constructor.name}`);
    await blobs.place(digest, target);
    t.equal(readFileSync(target, 'utf8'), 'blob');
    t.equal(statSync(target).mode & 0o777, 0o444);
    t.equal(
      statSync(target).ino === statSync(volume.layout.blob(digest)).ino,
      !(volume instanceof LinklessVolume),
    );
    writeFileSync(`${target}-taken`, '');
    t.equal(await codeOf(blobs.place(digest, `${target}-taken`)), 'STORAGE_ERROR', 'the name is taken');
    t.equal(await codeOf(blobs.place(sha256Of('other'), `${target}-b`)), 'BLOB_MISSING');
    t.equal(await codeOf(blobs.copy(sha256Of('other'), `${target}-b`, 0o644)), 'BLOB_MISSING');
    t.notOk(existsSync(`${target}-b`));
  }
});

test('push() makes a version of a package, which find() and list() tell', async (t) => {
  const volume = await temporaryVolume(t);
  const { packages } = storesOn(volume);
  t.equal(await packages.find(web, v1), undefined);
  t.strictSame(await packages.list(web), []);
  const bytes = randomBytes(1000);
  const { pointer, created } = await packages.push(web, v1, { source: bodyOf(bytes), extension: '.tar.gz' });
  t.equal(created, true);
  t.match(pointer, { id: 'web', version: '1.0', digest: sha256Of(bytes), size: 1000, extension: '.tar.gz' });
  t.match(pointer.pushedAt, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  t.strictSame(await packages.find(web, v1), pointer);
  const v0 = sure(parsePackageVersion('0.9'));
  await packages.push(web, v0, { source: bodyOf(bytes), extension: '.zip' });
  t.strictSame(
    (await packages.list(web)).map(({ version }) => version),
    ['0.9', '1.0'],
  );
});

test('push() of the same bytes again is no new version, and the first name of its file stays', async (t) => {
  const { packages } = storesOn(await temporaryVolume(t));
  const bytes = Buffer.from('bytes');
  const first = await packages.push(web, v1, { source: bodyOf(bytes), extension: '.zip' });
  const second = await packages.push(web, v1, { source: bodyOf(bytes), extension: '.jar' });
  t.strictSame(second, { pointer: first.pointer, created: false });
  const third = await packages.push(web, v1, {
    source: untouched(t),
    extension: '.zip',
    digest: sha256Of(bytes),
  });
  t.strictSame(third, { pointer: first.pointer, created: false });
});

test('push() refuses other bytes before it reads them where they were announced, and after them where not', async (t) => {
  const volume = await temporaryVolume(t);
  const { packages } = storesOn(volume);
  await packages.push(web, v1, { source: bodyOf(Buffer.from('first')), extension: '.zip' });
  const before = kept(volume);
  const accept = () => t.fail('it was accepted');
  const announced = { source: untouched(t), extension: '.zip', digest: sha256Of('other'), accept };
  t.equal(await codeOf(packages.push(web, v1, announced)), 'PACKAGE_CONFLICT');
  const silent = { source: bodyOf(Buffer.from('other')), extension: '.zip' };
  t.equal(await codeOf(packages.push(web, v1, silent)), 'PACKAGE_CONFLICT');
  t.strictSame(kept(volume), before, 'and the bytes of the conflict never become a blob');
});

test('push() with If-None-Match refuses a version that is there, with whatever bytes, before it reads a body', async (t) => {
  const { packages } = storesOn(await temporaryVolume(t));
  const bytes = Buffer.from('first');
  const fresh = await packages.push(web, v1, { source: bodyOf(bytes), extension: '.zip', ifNoneMatch: true });
  t.equal(fresh.created, true);
  for (const digest of [sha256Of(bytes), sha256Of('other'), undefined]) {
    const push = { source: untouched(t), extension: '.zip', ifNoneMatch: true, digest };
    t.equal(await codeOf(packages.push(web, v1, push)), 'PACKAGE_EXISTS');
  }
});

for (const [kind, make] of [
  ['with hard links', volumeAt],
  ['without hard links', (folder: string) => new LinklessVolume(folder)],
] as const) {
  test(`push() ${kind}: of different bytes for one version at once exactly one wins`, async (t) => {
    const folder = temporaryFolder(t);
    const volumes = Array.from({ length: 6 }, () => make(folder));
    for (const volume of volumes) for (const place of volume.layout.folders) await volume.makeFolder(place);
    const results = await Promise.allSettled(
      volumes.map((volume, index) =>
        storesOn(volume).packages.push(web, v1, {
          source: bodyOf(Buffer.from(`bytes ${index}`)),
          extension: '.zip',
        }),
      ),
    );
    const won = results.filter((result) => result.status === 'fulfilled');
    const lost = results.filter((result) => result.status === 'rejected');
    t.equal(won.length, 1);
    t.equal(won[0]?.value.created, true);
    t.ok(lost.every(({ reason }) => (reason as { code: string }).code === 'PACKAGE_CONFLICT'));
    t.strictSame(await storesOn(make(folder)).packages.find(web, v1), won[0]?.value.pointer);
  });
}

test('a version whose bytes are gone is not there, and comes back by a push of the same bytes', async (t) => {
  const volume = await temporaryVolume(t);
  const { packages, blobs } = storesOn(volume);
  const bytes = Buffer.from('bytes');
  const { pointer } = await packages.push(web, v1, { source: bodyOf(bytes), extension: '.zip' });
  unlinkSync(volume.layout.blob(pointer.digest));
  t.equal(await packages.find(web, v1), undefined);
  t.strictSame(await packages.list(web), []);
  await packages.push(web, v1, { source: bodyOf(bytes), extension: '.zip', digest: pointer.digest });
  t.strictSame(await packages.find(web, v1), pointer);
  t.ok(await blobs.find(pointer.digest));
});

test('find() never takes a damaged pointer for an absent one', async (t) => {
  const volume = await temporaryVolume(t);
  const packages = new PackageStore(volume, storesOn(volume).blobs);
  await volume.makeFolder(volume.layout.packageFolder(web));
  for (const text of ['', '{}', '{"id":"web"', 'null']) {
    writeFileSync(volume.layout.package(web, v1), text);
    t.equal(await codeOf(packages.find(web, v1)), 'STORAGE_ERROR', JSON.stringify(text));
  }
});

test('parsePackagePointer() reads what was written, and refuses names and extensions that lead elsewhere', async (t) => {
  const pointer: PackagePointer = {
    ...{ id: web, version: v1, digest: sha256Of(''), size: 0, extension: '.zip' },
    pushedAt: '2026-01-01T00:00:00.000Z',
  };
  t.strictSame(parsePackagePointer(JSON.stringify(pointer)), pointer);
  for (const more of [
    { id: '../x' },
    { version: '..' },
    { digest: 'x' },
    { extension: '/../x' },
    { size: 0.5 },
    { pushedAt: 1 },
  ]) {
    t.equal(parsePackagePointer(JSON.stringify({ ...pointer, ...more })), undefined, JSON.stringify(more));
  }
  fc.assert(fc.property(fc.oneof(fc.json(), fc.string()), (text) => parsePackagePointer(text) === undefined));
});

test('a blob store counts what it holds by its own options alone', async (t) => {
  const volume = await temporaryVolume(t);
  const options = { maxBytes: 10, memoryBytes: 10, minBytesPerSecond: 1, rateWindowMs: 1000 };
  const blobs = new BlobStore(volume, { ...options, reserveBytes: 0, maxUploads: 1, unknownLengthBytes: 0 });
  t.equal(blobs.pathOf(sha256Of('')), volume.layout.blob(sha256Of('')));
  t.equal(await codeOf(blobs.receive(bodyOf(Buffer.alloc(11)))), 'BODY_TOO_LARGE');
});
