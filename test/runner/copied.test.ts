/** A script that works on a copy on local disk: what it gets, what becomes of what it leaves, and what is removed. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { test, type Test } from 'tap';
import { sha256Of } from '../../src/protocol/digest.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { parseRelativePath } from '../../src/protocol/relative-path.ts';
import { WorkspaceLayout } from '../../src/protocol/volume-layout.ts';
import { collectArtifacts, sayNotCollected } from '../../src/runner/artifact-collection.ts';
import { findArtifacts } from '../../src/runner/artifact-search.ts';
import { LocalCopy, onDisk } from '../../src/runner/local-copy.ts';
import { removeLocalTree } from '../../src/runner/local-removal.ts';
import { scriptPlaces } from '../../src/runner/script-places.ts';
import { errnoOf, storageFault } from '../../src/runner/storage-fault.ts';
import { verifyWorkspace } from '../../src/runner/verify.ts';
import { VolumeFiles } from '../../src/runner/volume-files.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';
import { watchOf } from './made-watch.ts';
import { must, runToEnd, stageScriptIn, streamOf, type StagedScript } from './staged-script.ts';

const files = new VolumeFiles({ deadlineMs: 10_000 });

function copied(t: Test, script: string, staged: Readonly<Record<string, string>> = {}): StagedScript {
  const folder = temporaryFolder(t, 'longshore-runner');
  const copy = { folder: `${folder}/run/copy`, maxBytes: 2 ** 20, collectMs: 60_000 };
  return stageScriptIn(folder, script, { copy }, staged);
}

function folderOf({ order }: StagedScript): string {
  return must(order.copy?.folder ?? undefined);
}

test('a copied script', async (t) => {
  t.test('has its files, packages and artifacts on local disk, and finds them by name', async (t) => {
    const script = [
      'pwd; cat a/b; cat "$LONGSHORE_PACKAGES/p.zip"; echo',
      'printf "%s\\n" "$LONGSHORE_WORKSPACE" "$LONGSHORE_PACKAGES" "$LONGSHORE_ARTIFACTS" "$0"',
      'stat -c "%a" a/b "$LONGSHORE_PACKAGES/p.zip"; echo changed > a/b',
    ].join('\n');
    const staged = copied(t, script, { 'files/a/b': 'file\n', 'packages/p.zip': 'package' });
    const { stdout, end } = await runToEnd(t, staged);
    const at = folderOf(staged);
    t.equal(
      streamOf(stdout, 'stdout').toString(),
      `${at}/files\nfile\npackage\n${at}\n${at}/packages\n${at}/out/artifacts\n${at}/script\n644\n444\n`,
    );
    t.match(end, { exitCode: 0, fault: null, framesNotOnVolume: 0 });
    t.equal(readFileSync(`${staged.places.files}/a/b`, 'utf8'), 'file\n', 'what was staged stays as it was');
  });

  t.test('leaves artifacts on the volume, and nothing on local disk', async (t) => {
    const leaves = 'cd "$LONGSHORE_ARTIFACTS"; mkdir -p a/b; echo x > a/b/c; head -c 3000000 /dev/zero > big';
    const staged = copied(t, `${leaves}; chmod 500 a/b a; : > empty`);
    const order = { ...staged.order, copy: { ...must(staged.order.copy ?? undefined), maxBytes: 2 ** 23 } };
    const { end } = await runToEnd(t, { ...staged, order });
    t.equal(end.notCollected, undefined);
    const { artifacts, out } = staged.places;
    t.equal(readFileSync(`${artifacts}/a/b/c`, 'utf8'), 'x\n');
    t.equal(statSync(`${artifacts}/big`).size, 3_000_000);
    t.equal(statSync(`${artifacts}/empty`).size, 0);
    t.same(readdirSync(out).toSorted(), ['artifacts', 'journal', 'result.json', 'started']);
    t.notOk(existsSync(folderOf(staged)));
  });

  t.test('that left what cannot be brought says so, by name, size and reason', async (t) => {
    const leaves = [
      'cd "$LONGSHORE_ARTIFACTS"; echo x > good; ln -s /etc/passwd link; mkfifo pipe',
      'echo y > "bad\\\\name"; head -c 1048577 /dev/zero > large; exit 3',
    ].join('\n');
    const staged = copied(t, leaves);
    const { end, stdout } = await runToEnd(t, staged);
    t.match(end, { exitCode: 3, fault: null });
    const missing = must(end.notCollected);
    t.equal(missing.files, 4);
    t.match(
      missing.first.map(({ path, says }) => `${path}: ${says}`),
      [
        /bad.*name": its name is not /,
        /^large: beyond the bytes/,
        /^link: it is no plain file/,
        /^pipe: it is no/,
      ],
    );
    t.match(streamOf(stdout, 'note').toString(), /4 artifacts of \d+ bytes did not get to the volume: /);
    t.same(readdirSync(staged.places.artifacts), ['good']);
  });

  t.test('invariant 2: never runs where other bytes were staged, and leaves nothing', async (t) => {
    const staged = copied(t, 'touch "$LONGSHORE_ARTIFACTS/ran"', { 'files/x': 'text' });
    writeFileSync(`${staged.places.files}/x`, 'tent');
    const { end } = await runToEnd(t, staged);
    t.match(end, { fault: { code: 'STAGING_MISMATCH' }, exitCode: null });
    t.notOk(existsSync(folderOf(staged)));
  });

  t.test('invariant 13: that has no room is told which disk has none', async (t) => {
    const staged = copied(t, 'true', { 'packages/p.zip': 'x'.repeat(2 ** 20) });
    const { end } = await runToEnd(t, staged);
    t.match(end, { fault: { code: 'STAGING_DISK_FULL' }, exitCode: null });
    t.match(end.fault?.says, new RegExp(`no room on the local disk at ${folderOf(staged)}: .*copyMaxBytes`));
  });

  t.test('whose executor named no folder does not run on the volume instead', async (t) => {
    const staged = copied(t, 'true');
    const order = { ...staged.order, copy: { folder: null, maxBytes: 1, collectMs: 1 } };
    t.throws(() => scriptPlaces(order), { code: 'RUNNER_FAILED' });
  });
});

test('LocalCopy', async (t) => {
  const copyIn = (folder: string, maxBytes = 2 ** 60): LocalCopy =>
    new LocalCopy(new WorkspaceLayout(folder), maxBytes);

  t.test('asks the disk before anything is copied', async (t) => {
    const folder = temporaryFolder(t);
    const entry = { path: must(parseRelativePath('files/huge')), size: 2 ** 52, sha256: sha256Of('') };
    const work = copyIn(folder).begin({
      version: 1,
      key: copied(t, 'true').order.key,
      entries: [entry],
    });
    await t.rejects(work, { code: 'STAGING_DISK_FULL', message: /and \d+ are free/ });
  });

  t.test('reads each file of the volume once, and copies what it verifies', async (t) => {
    const staged = copied(t, 'true', { 'files/a': 'a', 'packages/p': 'x'.repeat(2_000_000) });
    const opened: string[] = [];
    const counting = new VolumeFiles({ deadlineMs: 10_000 });
    counting.readThrough = (path, ...rest) => {
      opened.push(path.slice(staged.places.root.length + 1));
      return files.readThrough(path, ...rest);
    };
    const folder = `${staged.folder}/copy`;
    const { signal } = new AbortController();
    await verifyWorkspace(staged.order, { files: counting, signal, copy: copyIn(folder) });
    t.same(opened.slice(1).toSorted(), ['files/a', 'manifest.json', 'packages/p', 'script']);
    t.equal(readFileSync(`${folder}/packages/p`, 'utf8').length, 2_000_000);
  });

  t.test('tells a full disk from one that fails, and neither from the volume', async (t) => {
    const error = (errno: number) => Promise.reject(Object.assign(new Error('x'), { errno: -errno }));
    await t.rejects(
      onDisk('write', '/local', () => error(28)),
      { code: 'STAGING_DISK_FULL' },
    );
    await t.rejects(
      onDisk('write', '/local', () => error(5)),
      {
        code: 'RUNNER_FAILED',
        message: /\/local on the local disk/,
      },
    );
  });
});

test('collectArtifacts()', async (t) => {
  const scene = (t: Test) => {
    const folder = temporaryFolder(t);
    const [from, to] = [new WorkspaceLayout(`${folder}/from`), new WorkspaceLayout(`${folder}/to`)];
    for (const { artifacts } of [from, to]) mkdirSync(artifacts, { recursive: true });
    for (const name of ['a', 'b', 'c']) writeFileSync(`${from.artifacts}/${name}`, name);
    const { watch } = watchOf(t, ['good']);
    const { signal } = new AbortController();
    const collection = { files, from, to, maxBytes: 100, signal, settled: () => watch.settled(signal) };
    return { folder, from, to, collection };
  };

  t.test('leaves the one out that the volume does not take, and no half of it', async (t) => {
    const { to, collection } = scene(t);
    const full = new (class extends VolumeFiles {
      override async rename(from: string, target: string): Promise<undefined> {
        if (!target.endsWith('/b')) return super.rename(from, target);
        throw storageFault('rename', target, Object.assign(new Error('full'), { errno: -28 }));
      }
    })({ deadlineMs: 1000 });
    const missing = must(await collectArtifacts({ ...collection, files: full }));
    t.match(missing, { files: 1, bytes: 1, first: [{ path: 'b', says: /^STORAGE_FULL: / }] });
    t.same(readdirSync(to.artifacts), ['a', 'c']);
    t.same(readdirSync(to.out), ['artifacts']);
    t.match(
      sayNotCollected(missing),
      /^1 artifact of 1 bytes did not get to the volume: b \(1 bytes: STORAGE_FULL/,
    );
  });

  t.test('tries again what a stall got in the way of', async (t) => {
    const { to, collection } = scene(t);
    let fails = 2;
    const stalled = new (class extends VolumeFiles {
      override async rename(from: string, target: string): Promise<undefined> {
        if (fails-- > 0) throw storageFault('rename', target, Object.assign(new Error('x'), { errno: -5 }));
        return super.rename(from, target);
      }
    })({ deadlineMs: 1000 });
    t.equal(await collectArtifacts({ ...collection, files: stalled }), undefined);
    t.same(readdirSync(to.artifacts), ['a', 'b', 'c']);
  });

  t.test('invariant 4: does not believe bytes that do not read back', async (t) => {
    const { to, collection } = scene(t);
    const elsewhere = new (class extends VolumeFiles {
      override async createDurableFrom(path: string, parts: AsyncIterable<Buffer>): Promise<void> {
        await super.createDurableFrom(path, parts);
        writeFileSync(path, 'other');
      }
    })({ deadlineMs: 1000 });
    const missing = must(await collectArtifacts({ ...collection, files: elsewhere }));
    t.equal(missing.files, 3);
    t.same(readdirSync(to.artifacts), []);
  });

  t.test('asks a volume that is lost for nothing, and begins nothing after its time', async (t) => {
    const { collection } = scene(t);
    const { watch } = watchOf(t, ['other']);
    const untouched = new Proxy(files, {
      get: (_, name) => (name === 'overdue' ? 0 : t.fail(`the volume was asked: ${String(name)}`)),
    });
    const lost = { ...collection, files: untouched, settled: () => watch.settled(collection.signal) };
    t.match(await collectArtifacts(lost), { files: 3, first: [{ says: /^STORAGE_REPLACED: / }] });
    const over = { ...collection, files: untouched, signal: AbortSignal.abort() };
    t.match(await collectArtifacts(over), { files: 3, first: [{ says: 'the time for it was over' }] });
  });

  t.test('follows no link in the place of the folder, and finds nothing where it is gone', async (t) => {
    const { from } = scene(t);
    rmSync(from.artifacts, { recursive: true });
    t.same(await findArtifacts(from, 100), { found: [], refused: [] });
    symlinkSync('/etc', from.artifacts);
    t.match(await findArtifacts(from, 100), { found: [], refused: [{ path: '.' }] });
  });
});

test('removeLocalTree()', async (t) => {
  t.test('removes what scripts close and nest, and follows no link', async (t) => {
    const folder = temporaryFolder(t);
    const root = `${folder}/copy`;
    mkdirSync(`${root}/closed/inner`, { recursive: true });
    mkdirSync(`${folder}/other`);
    writeFileSync(`${folder}/other/kept`, '');
    symlinkSync(`${folder}/other`, `${root}/link`);
    chmodSync(`${root}/closed`, 0o000);
    const deep = `d=${'x'.repeat(200)}; for i in {1..30}; do mkdir $d; cd $d; done`;
    execFileSync('bash', ['-c', deep], { cwd: root });
    await removeLocalTree(root);
    t.same(readdirSync(folder), ['other']);
    t.same(readdirSync(`${folder}/other`), ['kept']);
  });

  t.test('removes a link in its place, and is content with nothing', async (t) => {
    const folder = temporaryFolder(t);
    mkdirSync(`${folder}/other`);
    symlinkSync(`${folder}/other`, `${folder}/copy`);
    await removeLocalTree(`${folder}/copy`);
    await removeLocalTree(`${folder}/copy`);
    t.same(readdirSync(folder), ['other']);
  });
});

test('a fault of the local disk is none of the volume', async (t) => {
  const fault = new Fault('RUNNER_FAILED', 'x', { cause: Object.assign(new Error(), { errno: -2 }) });
  t.equal(errnoOf(fault), undefined);
});
