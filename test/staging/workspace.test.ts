/** Workspaces: staged where nobody looks, published by one rename (invariants 1, 2 and 12). */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { test } from 'tap';
import type { Volume } from '../../src/mount/volume.ts';
import { sha256Of } from '../../src/protocol/digest.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { manifestDigestOf, parseManifest } from '../../src/protocol/manifest.ts';
import { parsePackageId, parsePackageVersion } from '../../src/protocol/package-name.ts';
import { foldedPath, parseRelativePath, type RelativePath } from '../../src/protocol/relative-path.ts';
import { parseTicket, scriptKeyFor } from '../../src/protocol/ticket.ts';
import { STAGING_PREFIX } from '../../src/protocol/volume-layout.ts';
import { putAll, placeBytes } from '../../src/staging/placement.ts';
import {
  publishWorkspace,
  removeStaged,
  removeWorkspace,
  stageWorkspace,
  type WorkspacePlan,
} from '../../src/staging/workspace.ts';
import { foldersFor } from '../../src/staging/workspace-paths.ts';
import { faultyVolume, LinklessVolume } from '../harness/faulty-volume.ts';
import { codeOf, storesOn } from '../harness/stores.ts';
import { temporaryFolder, temporaryVolume, volumeAt } from '../harness/temporary-volume.ts';

function sure<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('the fixture breaks a rule');
  return value;
}

const key = scriptKeyFor('server', sure(parseTicket('t1')));
const web = sure(parsePackageId('web'));
const v1 = sure(parsePackageVersion('1.0'));
const pathOf = (text: string): RelativePath => sure(parseRelativePath(text));

function planOf(plan: Partial<WorkspacePlan> = {}): WorkspacePlan {
  return { key, script: Buffer.from('true\n'), files: [], packages: [], ...plan };
}

function filesOf(...paths: string[]): WorkspacePlan['files'] {
  return paths.map((path) => ({ path: pathOf(path), content: Buffer.from(path) }));
}

/** What lies in a folder, as paths of files, sorted. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`.slice(folder.length + 1))
    .sort();
}

function stagedIn(volume: Volume): string[] {
  return readdirSync(volume.layout.work);
}

test('stageWorkspace() lays out script, files, packages and out, with a manifest of all of it', async (t) => {
  const volume = await temporaryVolume(t);
  const stores = storesOn(volume);
  await stores.packages.push(web, v1, { source: Readable.from([Buffer.from('zip')]), extension: '.zip' });
  const { digest: blob } = await stores.blobs.receive(Readable.from([Buffer.from('blob')]));
  const files = [...filesOf('conf/app.json', 'ümlaut'), { path: pathOf('conf/deep/data.bin'), blob }];
  const staged = await stageWorkspace(
    volume,
    stores,
    planOf({ files, packages: [{ id: web, version: v1 }] }),
  );
  const { root, manifest, ...places } = volume.layout.staging(staged.staging);
  t.ok(places);
  const contents = [
    'files/conf/app.json',
    'files/conf/deep/data.bin',
    'files/ümlaut',
    'packages/web.1.0.zip',
    'script',
  ];
  t.strictSame(filesIn(root), [
    'files/conf/app.json',
    'files/conf/deep/data.bin',
    'files/ümlaut',
    'manifest.json',
    ...contents.slice(3),
  ]);
  const read = sure(parseManifest(readFileSync(manifest)));
  t.equal(manifestDigestOf(read), staged.manifestDigest);
  t.equal(sha256Of(readFileSync(manifest)), staged.manifestDigest);
  t.strictSame(
    read.entries.map(({ path }) => path),
    contents,
  );
  for (const { path, size, sha256 } of read.entries) {
    const bytes = readFileSync(`${root}/${path}`);
    t.strictSame([bytes.length, sha256Of(bytes)], [size, sha256], path);
  }
  t.match(staged, { files: 5, bytes: read.entries.reduce((sum, { size }) => sum + size, 0) });
  t.strictSame(readdirSync(volume.layout.staging(staged.staging).out), ['artifacts']);
});

test('invariant 12: packages are read-only, and files are private copies that a script may write to', async (t) => {
  const volume = await temporaryVolume(t);
  const stores = storesOn(volume);
  const { pointer } = await stores.packages.push(web, v1, {
    source: Readable.from([Buffer.from('zip')]),
    extension: '',
  });
  const blob = pointer.digest;
  const plan = planOf({ files: [{ path: pathOf('copy'), blob }], packages: [{ id: web, version: v1 }] });
  const { staging } = await stageWorkspace(volume, stores, plan);
  const layout = volume.layout.staging(staging);
  t.equal(statSync(`${layout.packages}/web.1.0`).mode & 0o777, 0o444);
  t.equal(statSync(`${layout.files}/copy`).mode & 0o777, 0o644);
  writeFileSync(`${layout.files}/copy`, 'changed');
  t.equal(readFileSync(volume.layout.blob(blob), 'utf8'), 'zip');
});

for (const count of [3, 600]) {
  test(`stageWorkspace() of ${count} files, inline and as blobs, has every byte of them`, async (t) => {
    const volume = await temporaryVolume(t);
    const stores = storesOn(volume);
    const { digest: blob } = await stores.blobs.receive(Readable.from([Buffer.from('blob')]));
    const files = Array.from({ length: count }, (_, index) => {
      const path = pathOf(`d${index % 7}/f${index}`);
      return index % 3 === 0 ? { path, blob } : { path, content: randomBytes(index % 50) };
    });
    const { staging } = await stageWorkspace(volume, stores, planOf({ files }));
    await publishWorkspace(volume, staging, key);
    const layout = volume.layout.workspace(key);
    const read = sure(parseManifest(readFileSync(layout.manifest)));
    t.equal(read.entries.length, count + 1);
    for (const { path, size, sha256 } of read.entries) {
      const bytes = readFileSync(layout.entry(path));
      if (bytes.length !== size || sha256Of(bytes) !== sha256) t.fail(path);
      if ((statSync(layout.entry(path)).mode & 0o777) !== 0o644) t.fail(`${path} has another mode`);
    }
    t.equal(filesIn(layout.root).length, count + 2);
  });
}

test('many files are synced one by one where one flush of the file system cannot be had', async (t) => {
  const folder = temporaryFolder(t);
  const synced: string[] = [];
  const volume = faultyVolume(folder, (operation, path) => {
    if (operation === 'fsync') synced.push(path);
    return undefined;
  });
  await volume.makeFolder(volume.layout.root);
  volume.flushWhole = async () => false;
  const placements = Array.from({ length: 300 }, (_, index) => placeBytes(`f${index}`, Buffer.from('x')));
  await putAll(volume, placements, (path) => `${volume.layout.root}/${path}`);
  t.equal(new Set(synced).size, 300);
});

test('foldersFor() tells every folder once, parents first, whatever the order of the files', async () => {
  const paths = fc.uniqueArray(
    fc
      .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 4 })
      .map((segments) => pathOf([...segments.slice(0, -1), `file-${segments.join('')}`].join('/'))),
    { selector: foldedPath },
  );
  fc.assert(
    fc.property(paths, (files) => {
      const folders: string[] = foldersFor(files);
      const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('/')));
      return (
        new Set(folders).size === folders.length &&
        folders.every(
          (folder, index) => parentOf(folder) === '' || folders.indexOf(parentOf(folder)) < index,
        ) &&
        files.every((file) => parentOf(file) === '' || folders.includes(parentOf(file)))
      );
    }),
  );
});

test('stageWorkspace() refuses paths that meet, names both, and makes nothing', async (t) => {
  const volume = await temporaryVolume(t);
  for (const [one, other] of [
    ['a', 'a'],
    ['README', 'readme'],
    ['\u00e9', 'e\u0301'],
    ['a', 'a/b'],
    ['a/b', 'a'],
    ['a/b', 'A/c'],
    ['Straße/x', 'STRASSE/y'],
    ['a/b/c', 'a/B'],
  ] as const) {
    const staged = stageWorkspace(volume, storesOn(volume), planOf({ files: filesOf(one, other) }));
    const fault = await staged.catch((error: unknown) => error);
    t.ok(fault instanceof Fault && fault.code === 'PATH_INVALID', `${one} ${other}`);
    if (fault instanceof Fault)
      t.ok(
        [one, other].some((path) => fault.message.includes(path.split('/')[0] ?? '')),
        fault.message,
      );
  }
  t.strictSame(stagedIn(volume), []);
});

test('foldersFor() refuses exactly what meets another', async () => {
  const text = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 4 })
    .filter((one) => /^[^/\\\p{C}\p{Z}.]+$/u.test(one));
  fc.assert(
    fc.property(text, text, (one, other) => {
      const meets = foldedPath(pathOf(one)) === foldedPath(pathOf(other));
      try {
        foldersFor([pathOf(one), pathOf(other)]);
        return !meets;
      } catch (error) {
        return meets && error instanceof Fault && error.code === 'PATH_INVALID';
      }
    }),
  );
});

test('stageWorkspace() refuses two packages whose files would have one name, and one that is named twice', async (t) => {
  const volume = await temporaryVolume(t);
  const stores = storesOn(volume);
  const pairs = [
    { id: sure(parsePackageId('a.b')), version: sure(parsePackageVersion('1')) },
    { id: sure(parsePackageId('a')), version: sure(parsePackageVersion('b.1')) },
  ];
  for (const { id, version } of pairs) {
    await stores.packages.push(id, version, { source: Readable.from([Buffer.from('x')]), extension: '.zip' });
  }
  t.equal(await codeOf(stageWorkspace(volume, stores, planOf({ packages: pairs }))), 'PATH_INVALID');
  const twice = [...pairs.slice(1), ...pairs.slice(1)];
  t.equal(await codeOf(stageWorkspace(volume, stores, planOf({ packages: twice }))), 'PATH_INVALID');
  t.strictSame(stagedIn(volume), []);
});

test('stageWorkspace() refuses a path that is too long behind files/', async (t) => {
  const volume = await temporaryVolume(t);
  const long = Array(4).fill('x'.repeat(255)).join('/');
  t.equal(
    await codeOf(stageWorkspace(volume, storesOn(volume), planOf({ files: filesOf(long) }))),
    'PATH_INVALID',
  );
  t.strictSame(stagedIn(volume), []);
});

test('stageWorkspace() names the package or blob that was not pushed, and makes nothing', async (t) => {
  const volume = await temporaryVolume(t);
  const stores = storesOn(volume);
  const missing = stageWorkspace(volume, stores, planOf({ packages: [{ id: web, version: v1 }] }));
  t.match(await missing.catch((error: unknown) => error), {
    code: 'PACKAGE_MISSING',
    detail: { id: 'web', version: '1.0' },
  });
  const blob = sha256Of('none');
  const unknown = stageWorkspace(volume, stores, planOf({ files: [{ path: pathOf('a'), blob }] }));
  t.match(await unknown.catch((error: unknown) => error), { code: 'BLOB_MISSING', detail: { digest: blob } });
  t.strictSame(stagedIn(volume), []);
});

test('stageWorkspace() of many files names the blob that was swept in the middle', async (t) => {
  const volume = await temporaryVolume(t);
  const stores = storesOn(volume);
  const { digest: blob } = await stores.blobs.receive(Readable.from([Buffer.from('blob')]));
  const flushes = volume.flushesWhole.bind(volume);
  volume.flushesWhole = async () => {
    unlinkSync(volume.layout.blob(blob));
    return flushes();
  };
  const files = Array.from({ length: 300 }, (_, index) => ({ path: pathOf(`f${index}`), blob }));
  const staged = stageWorkspace(volume, stores, planOf({ files }));
  t.match(await staged.catch((error: unknown) => error), { code: 'BLOB_MISSING', detail: { digest: blob } });
  t.strictSame(stagedIn(volume), []);
});

test('stageWorkspace() refuses what does not fit before it writes, and sets its space free', async (t) => {
  const volume = await temporaryVolume(t);
  const { freeBytes } = await volume.space();
  const stores = storesOn(volume, { reserveBytes: freeBytes * 2 });
  t.equal(await codeOf(stageWorkspace(volume, stores, planOf())), 'STORAGE_FULL');
  t.strictSame(stagedIn(volume), []);
  const roomy = storesOn(volume);
  await stageWorkspace(volume, roomy, planOf());
  t.strictSame(roomy.blobs.space.load, { uploads: 0, reservedBytes: 0 });
});

for (const count of [2, 300]) {
  test(`invariant 1: stageWorkspace() of ${count} files that fails at any step leaves no folder, and can be repeated`, async (t) => {
    const files = filesOf(...Array.from({ length: count }, (_, index) => `d/f${index}`));
    for (let step = 1; ; step += 1) {
      const folder = temporaryFolder(t);
      for (const place of volumeAt(folder).layout.folders) await volumeAt(folder).makeFolder(place);
      let [operations, failed] = [0, ''];
      const volume = faultyVolume(folder, (operation) => {
        operations += 1;
        if (operations !== step) return undefined;
        failed = operation;
        return { errno: 'EDQUOT' };
      });
      const code = await codeOf(stageWorkspace(volume, storesOn(volume), planOf({ files })));
      if (failed === '') break;
      t.equal(code, 'STORAGE_FULL', `${step}: ${failed}`);
      t.strictSame(stagedIn(volume), [], `${step}: ${failed}`);
      // Once more is enough for many files; for a few, after each step.
      if (count > 2 && step > 1) continue;
      const { staging } = await stageWorkspace(volume, storesOn(volume), planOf({ files }));
      await publishWorkspace(volume, staging, key);
      t.strictSame(stagedIn(volume), [key], `${step}: again`);
    }
  });
}

test('publishWorkspace() may be called by many at once and again, and the workspace appears whole', async (t) => {
  const folder = temporaryFolder(t);
  const volumes = Array.from({ length: 8 }, () => volumeAt(folder));
  for (const volume of volumes) for (const place of volume.layout.folders) await volume.makeFolder(place);
  const [first] = volumes;
  if (first === undefined) throw new TypeError('no volume');
  const { staging, manifestDigest } = await stageWorkspace(
    first,
    storesOn(first),
    planOf({ files: filesOf('a') }),
  );
  t.strictSame(stagedIn(first), [`${STAGING_PREFIX}${staging}`]);
  await Promise.all(volumes.map((volume) => publishWorkspace(volume, staging, key)));
  await publishWorkspace(first, staging, key);
  t.strictSame(stagedIn(first), [key]);
  t.equal(sha256Of(readFileSync(first.layout.workspace(key).manifest)), manifestDigest);
});

test('publishWorkspace() goes onto the empty folder that a cluster made for the mount of a pod', async (t) => {
  const volume = await temporaryVolume(t);
  const { staging } = await stageWorkspace(volume, storesOn(volume), planOf());
  await volume.makeFolder(volume.layout.workspace(key).root);
  await publishWorkspace(volume, staging, key);
  t.ok(existsSync(volume.layout.workspace(key).manifest));
});

test('publishWorkspace() answers WORKSPACE_LOST when there is neither folder, also where an empty one has its name', async (t) => {
  const volume = await temporaryVolume(t);
  t.equal(await codeOf(publishWorkspace(volume, 'none', key)), 'WORKSPACE_LOST');
  await volume.makeFolder(volume.layout.workspace(key).root);
  t.equal(await codeOf(publishWorkspace(volume, 'none', key)), 'WORKSPACE_LOST');
});

test('publishWorkspace() does not replace another workspace of the name', async (t) => {
  const volume = await temporaryVolume(t);
  const [first, second] = await Promise.all(
    [planOf(), planOf()].map((plan) => stageWorkspace(volume, storesOn(volume), plan)),
  );
  await publishWorkspace(volume, first?.staging ?? '', key);
  t.equal(await codeOf(publishWorkspace(volume, second?.staging ?? '', key)), 'STORAGE_ERROR');
});

test('removeWorkspace() and removeStaged() take all away, and may be repeated', async (t) => {
  const volume = await temporaryVolume(t);
  const plan = planOf({ files: filesOf('a/b', 'c') });
  const [first, second] = await Promise.all(
    [plan, plan].map((one) => stageWorkspace(volume, storesOn(volume), one)),
  );
  await publishWorkspace(volume, first?.staging ?? '', key);
  for (let round = 0; round < 2; round += 1) {
    await removeWorkspace(volume, key);
    await removeStaged(volume, second?.staging ?? '');
  }
  t.strictSame(stagedIn(volume), []);
});

test('a workspace is staged without hard links too', async (t) => {
  const volume = new LinklessVolume(temporaryFolder(t));
  for (const place of volume.layout.folders) await volume.makeFolder(place);
  const stores = storesOn(volume);
  await stores.packages.push(web, v1, { source: Readable.from([Buffer.from('zip')]), extension: '.zip' });
  const { staging } = await stageWorkspace(volume, stores, planOf({ packages: [{ id: web, version: v1 }] }));
  const file = `${volume.layout.staging(staging).packages}/web.1.0.zip`;
  t.equal(readFileSync(file, 'utf8'), 'zip');
  t.equal(statSync(file).mode & 0o777, 0o444);
});
