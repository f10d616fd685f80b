/** What is left over goes, what is used stays (invariant 13). */
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { test } from 'tap';
import type { Volume } from '../../src/mount/volume.ts';
import { sha256Of } from '../../src/protocol/digest.ts';
import { parsePackageId, parsePackageVersion } from '../../src/protocol/package-name.ts';
import { parseTicket, scriptKeyFor } from '../../src/protocol/ticket.ts';
import { temporaryBeside } from '../../src/staging/atomic-file.ts';
import { sweepStaging, type SweepRules } from '../../src/staging/retention.ts';
import { publishWorkspace, stageWorkspace } from '../../src/staging/workspace.ts';
import { storesOn } from '../harness/stores.ts';
import { temporaryVolume } from '../harness/temporary-volume.ts';

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;
const NOTHING = { temporaries: 0, uploads: 0, stagings: 0, packages: 0, blobs: 0 };
const now = new Date();

const rules: SweepRules = {
  leftoverAgeMs: HOUR_MS,
  unusedAgeMs: 30 * DAY_MS,
  maxRemovals: 1000,
  isNeeded: () => false,
};

function sure<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('the fixture breaks a rule');
  return value;
}

const web = sure(parsePackageId('web'));
const v1 = sure(parsePackageVersion('1.0'));
const key = scriptKeyFor('server', sure(parseTicket('t1')));
const plan = { key, script: Buffer.from('true\n'), files: [], packages: [] };

function age(path: string, ms: number): void {
  const at = new Date(now.getTime() - ms);
  utimesSync(path, at, at);
}

/** Makes a file or, with a slash at its end, a folder, last changed so long ago. */
function left(path: string, ms: number): string {
  if (path.endsWith('/')) mkdirSync(path, { recursive: true });
  else writeFileSync(path, 'x');
  age(path, ms);
  return path;
}

async function pushed(volume: Volume, text: string): Promise<void> {
  const source = Readable.from([Buffer.from(text)]);
  await storesOn(volume).packages.push(web, sure(parsePackageVersion(text)), { source, extension: '.zip' });
}

test('sweepStaging() of a volume without leftovers removes nothing', async (t) => {
  const volume = await temporaryVolume(t);
  await pushed(volume, '1.0');
  const { staging } = await stageWorkspace(volume, storesOn(volume), plan);
  await publishWorkspace(volume, staging, key);
  await stageWorkspace(volume, storesOn(volume), plan);
  t.strictSame(await sweepStaging(volume, rules, now), NOTHING);
});

test('sweepStaging() removes what killed agents left half made, when it is old', async (t) => {
  const volume = await temporaryVolume(t);
  const { layout } = volume;
  await pushed(volume, '1.0');
  const record = layout.ticket(key);
  mkdirSync(record.lines, { recursive: true });
  mkdirSync(`${layout.isolation}/line`);
  const places = (ms: number): string[] => [
    left(layout.upload(`upload-${ms}`), ms),
    left(temporaryBeside(layout.package(web, v1)), ms),
    left(temporaryBeside(record.outcome), ms),
    left(temporaryBeside(record.line(1)), ms),
    left(`${temporaryBeside(record.root)}/`, ms),
    left(temporaryBeside(`${layout.isolation}/line/1`), ms),
    left(`${temporaryBeside(layout.identity)}/`, ms),
    left(`${temporaryBeside(layout.lock('sweep'))}/`, ms),
  ];
  const [young, old] = [places(HOUR_MS / 2), places(2 * HOUR_MS)];
  const kept = [left(record.asked, 9 * DAY_MS), left(`${layout.isolation}/line/1`, 9 * DAY_MS), layout.epoch];
  left(layout.epoch, 9 * DAY_MS);
  t.strictSame(await sweepStaging(volume, rules, now), { ...NOTHING, uploads: 1, temporaries: 7 });
  for (const path of [...young, ...kept]) t.ok(existsSync(path), path);
  for (const path of old) t.notOk(existsSync(path), path);
});

test('sweepStaging() removes an old staged folder, unless the record of a ticket names it', async (t) => {
  const volume = await temporaryVolume(t);
  const stores = storesOn(volume);
  const [needed, left1, young] = await Promise.all([1, 2, 3].map(() => stageWorkspace(volume, stores, plan)));
  for (const one of [needed, left1]) age(volume.layout.staging(sure(one).staging).root, 2 * HOUR_MS);
  const isNeeded = (staging: string) => staging === sure(needed).staging;
  t.strictSame(await sweepStaging(volume, { ...rules, isNeeded }, now), { ...NOTHING, stagings: 1 });
  t.ok(existsSync(volume.layout.staging(sure(needed).staging).manifest));
  t.notOk(existsSync(volume.layout.staging(sure(left1).staging).root));
  t.ok(existsSync(volume.layout.staging(sure(young).staging).root));
});

test('sweepStaging() never touches a workspace that has its name, however old', async (t) => {
  const volume = await temporaryVolume(t);
  const { staging } = await stageWorkspace(volume, storesOn(volume), plan);
  await publishWorkspace(volume, staging, key);
  age(volume.layout.workspace(key).root, 1000 * DAY_MS);
  left(`${volume.layout.work}/of-somebody/`, 1000 * DAY_MS);
  t.strictSame(await sweepStaging(volume, rules, now), NOTHING);
});

test('sweepStaging() removes packages that nothing used for long, and their bytes two days later', async (t) => {
  const volume = await temporaryVolume(t);
  const { layout } = volume;
  for (const text of ['1.0', '2.0']) await pushed(volume, text);
  const blob = layout.blob(sha256Of('1.0'));
  for (const path of [blob, layout.package(web, v1)]) age(path, 31 * DAY_MS);
  t.strictSame(await sweepStaging(volume, rules, now), { ...NOTHING, packages: 1 });
  t.ok(existsSync(blob), 'no pointer is ever left without its bytes');
  t.notOk(existsSync(layout.package(web, v1)));
  age(blob, 33 * DAY_MS);
  t.strictSame(await sweepStaging(volume, rules, now), { ...NOTHING, blobs: 1 });
  t.strictSame(
    (await storesOn(volume).packages.list(web)).map(({ version }) => version),
    ['2.0'],
  );
});

test('a package that a script used stays, and its bytes too', async (t) => {
  const volume = await temporaryVolume(t);
  const { layout } = volume;
  await pushed(volume, '1.0');
  for (const path of [layout.blob(sha256Of('1.0')), layout.package(web, v1)]) age(path, 40 * DAY_MS);
  await stageWorkspace(volume, storesOn(volume), { ...plan, packages: [{ id: web, version: v1 }] });
  t.strictSame(await sweepStaging(volume, rules, now), NOTHING);
  t.ok(await storesOn(volume).packages.find(web, v1));
});

test('sweepStaging() removes the folder of a package without versions, once it is old', async (t) => {
  const volume = await temporaryVolume(t);
  const folder = volume.layout.packageFolder(web);
  left(`${folder}/`, HOUR_MS / 2);
  await sweepStaging(volume, rules, now);
  t.ok(existsSync(folder), 'a push may be on its way into it');
  age(folder, 2 * HOUR_MS);
  await sweepStaging(volume, rules, now);
  t.notOk(existsSync(folder));
});

test('invariant 13: sweepStaging() is bounded, and the next pass goes on', async (t) => {
  const volume = await temporaryVolume(t);
  for (let index = 0; index < 25; index += 1) left(volume.layout.upload(`u${index}`), 2 * HOUR_MS);
  const bounded = { ...rules, maxRemovals: 10 };
  const counts = [];
  for (let pass = 0; pass < 4; pass += 1) counts.push((await sweepStaging(volume, bounded, now)).uploads);
  t.strictSame(counts, [10, 10, 5, 0]);
});

test('sweepStaging() ends when its lock is lost', async (t) => {
  const volume = await temporaryVolume(t);
  left(volume.layout.upload('u'), 2 * HOUR_MS);
  const lost = { ...rules, signal: AbortSignal.abort() };
  t.strictSame(await sweepStaging(volume, lost, now), NOTHING);
  t.strictSame(readdirSync(volume.layout.uploads), ['u']);
});
