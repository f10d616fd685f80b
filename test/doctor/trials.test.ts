/** The trials of the doctor, each on a folder of a real disk. */
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { tryCloseToOpen, tryFsync, tryPermissions, trySpace } from '../../src/doctor/trial-bytes.ts';
import { tryAnswers, tryCleanup, tryFolder } from '../../src/doctor/trial-folder.ts';
import { createsFirst, tryExclusive, tryLinks, tryListing, tryRename } from '../../src/doctor/trial-names.ts';
import { tryLatency, trySmallFiles } from '../../src/doctor/trial-times.ts';
import { parsedLine, TIMED_CALLS } from '../../src/doctor/trial-words.ts';
import { holdsVersion, putVersion, watchVersions } from '../../src/doctor/whole-file.ts';
import { VolumeLayout } from '../../src/protocol/volume-layout.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

test('every trial finds a local disk to keep what is assumed of it', async (t) => {
  const folder = temporaryFolder(t);
  t.match(await tryRename(folder), { isLast: true, absent: 0, mixed: 0, stale: 0 });
  t.match(await tryExclusive(folder), { names: 20, doubled: 0, missing: 0 });
  t.match(await tryCloseToOpen(folder), { wrong: 0 });
  t.same(await tryListing(folder), { files: 40, unseen: 0, stillSeen: 0 });
  t.same(await tryLinks(folder), {});
  const uid = process.getuid?.() ?? 0;
  t.match(await tryPermissions(folder), { uid, ownerUid: uid, mode: 0o444 });
  const { fileMs, folderMs } = await tryFsync(folder);
  t.equal(fileMs.length, folderMs.length);
  t.ok(fileMs.length >= 1);
  const space = await trySpace(folder);
  t.equal(space.bytes, 64 * 2 ** 20);
  t.ok(space.seconds > 0);
  const { files } = await trySmallFiles(folder);
  t.ok(files >= 1);
  const times = await tryLatency(folder);
  for (const call of TIMED_CALLS) t.ok(times[call].length >= 1 && times[call].every((ms) => ms >= 0), call);
});

test('watchVersions() counts a version that is no whole one, and a file that is not there', async (t) => {
  const path = join(temporaryFolder(t), 'file');
  const looks = (count: number) => () => (count -= 1) < 0;
  await putVersion(path, 7);
  t.ok(await holdsVersion(path, 7));
  t.notOk(await holdsVersion(path, 8));
  t.same(await watchVersions(path, looks(3)), { reads: 3, absent: 0, mixed: 0, stale: 0 });
  writeFileSync(path, '00000001'.repeat(1024) + '00000002'.repeat(1024));
  t.match(await watchVersions(path, looks(2)), { mixed: 2 });
  writeFileSync(path, '');
  t.match(await watchVersions(path, looks(1)), { mixed: 1 });
  t.match(await watchVersions(`${path}-not-there`, looks(4)), { reads: 4, absent: 4 });
  await t.rejects(watchVersions(temporaryFolder(t), looks(1)), { code: 'EISDIR' });
});

test('createsFirst() tells the first from all others, and hides no other error', async (t) => {
  const folder = temporaryFolder(t);
  t.equal(await createsFirst(join(folder, 'name')), true);
  t.equal(await createsFirst(join(folder, 'name')), false);
  await t.rejects(createsFirst(join(folder, 'missing', 'name')), { code: 'ENOENT' });
});

test('tryAnswers() follows links to the mount, and tells a volume that is not there', async (t) => {
  const folder = temporaryFolder(t);
  t.match(await tryAnswers(`${folder}/.`), { realPath: folder });
  await t.rejects(tryAnswers(`${folder}/missing`), { code: 'ENOENT' });
});

test('tryFolder() removes what doctors left that were killed, and nothing else', async (t) => {
  const volume = temporaryFolder(t);
  const layout = new VolumeLayout(volume);
  const [left, young, own] = ['0', '1', '2'].map((digit) => layout.doctorFolder(digit.repeat(16)));
  const strange = join(volume, 'doctor-who');
  for (const folder of [left, young, strange]) mkdirSync(join(String(folder), 'deep'), { recursive: true });
  const longAgo = new Date(Date.now() - 3_600_000);
  for (const folder of [left, strange]) utimesSync(String(folder), longAgo, longAgo);
  t.same(await tryFolder(String(own)), { swept: 1 });
  t.notOk(existsSync(String(left)));
  t.same(readdirSync(volume).sort(), ['doctor-1111111111111111', 'doctor-2222222222222222', 'doctor-who']);
  await tryCleanup(String(own));
  await tryCleanup(String(own));
  t.notOk(existsSync(String(own)));
});

test('parsedLine() passes over what is none of our lines', (t) => {
  t.same(parsedLine('{"type":"ready"}'), { type: 'ready' });
  t.equal(parsedLine('Segmentation fault'), undefined);
  t.equal(parsedLine('{"type":'), undefined);
  t.end();
});
