/** Watching the one local file that changes while the agent runs. */
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { watchFile } from '../../src/mount/file-watcher.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

test('watchFile() tells of a file that is rewritten, replaced by rename, removed and made again', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'tokens');
  writeFileSync(file, 'one');
  let changes = 0;
  const watch = watchFile(file, () => (changes += 1), { intervalMs: 20 });
  t.teardown(() => watch.close());
  let size = 10;
  // Until the first change is seen: polling begins some time after watchFile() returned.
  await eventually(() => {
    if (changes === 0) writeFileSync(file, 'x'.repeat((size += 1)));
    return changes > 0;
  });
  for (const [what, change] of [
    ['replaced', () => (writeFileSync(`${file}.new`, 'replaced'), renameSync(`${file}.new`, file))],
    ['removed', () => rmSync(file)],
    ['made again', () => writeFileSync(file, 'made again')],
  ] as const) {
    const before = changes;
    change();
    await eventually(() => changes > before);
    t.pass(what);
  }
});

test('watchFile() tells when a cluster turns the symbolic link behind the file', async (t) => {
  const folder = temporaryFolder(t);
  for (const version of ['v1', 'v2']) {
    mkdirSync(join(folder, version));
    writeFileSync(join(folder, version, 'tokens'), `tokens of ${version}`);
  }
  // As a mounted secret: tokens -> ..data/tokens, ..data -> v1.
  symlinkSync('v1', join(folder, '..data'));
  symlinkSync('..data/tokens', join(folder, 'tokens'));
  let changes = 0;
  const watch = watchFile(join(folder, 'tokens'), () => (changes += 1), { intervalMs: 20 });
  t.teardown(() => watch.close());
  let version = 1;
  await eventually(() => {
    if (changes > 0) return true;
    version = version === 1 ? 2 : 1;
    symlinkSync(`v${version}`, join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    return false;
  });
  t.ok(changes > 0);
});

test('watchFile() is silent after close()', async (t) => {
  const file = join(temporaryFolder(t), 'tokens');
  writeFileSync(file, 'one');
  let changes = 0;
  const watch = watchFile(file, () => (changes += 1), { intervalMs: 20 });
  await watch.close();
  const other = watchFile(file, () => undefined, { intervalMs: 20 });
  writeFileSync(file, 'another text');
  await other.close();
  t.equal(changes, 0);
});
