/** The doctor on real volumes: good ones, and ones with each fault. It always comes back, and leaves nothing. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test, type Test } from 'tap';
import { examine } from '../../src/doctor/doctor.ts';
import type { Report } from '../../src/doctor/report.ts';
import { TrialChild } from '../../src/doctor/trial-child.ts';
import { VolumeTrials } from '../../src/doctor/volume-trials.ts';
import type { FaultRule } from '../faults/fault-rules.ts';
import { FaultyMount, missingForFaults } from '../faults/faulty-mount.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

const program = fileURLToPath(import.meta.resolve('longshore/doctor-trials'));
const skip = missingForFaults() ?? false;
const TMPFS = 0x0102_1994;

function examined(volume: string, limitMs = 60_000, signal = new AbortController().signal): Promise<Report> {
  return examine({ volume, program, reserveBytes: 0, serverDeadlineMs: 3000, limitMs, signal });
}

function verdicts({ findings }: Report): Record<string, string> {
  return Object.fromEntries(findings.map(({ check, verdict }) => [check, verdict]));
}

const KEPT = ['answers', 'folder', 'rename', 'exclusive', 'fsync', 'close-to-open', 'listing', 'cleanup'];

async function isGood(t: Test, volume: string): Promise<void> {
  const report = await examined(volume);
  for (const check of KEPT) t.match(verdicts(report)[check], /good|note|warn/, check);
  t.equal(verdicts(report)['file-system'], 'note');
  t.match(report.verdict, /note|warn/, 'a busy disk may be slow, and is not bad');
  t.same(readdirSync(volume), []);
}

test('a local disk keeps what is assumed, and nothing of the doctor is left', async (t) => {
  await isGood(t, temporaryFolder(t));
});

const hasTmpfs = process.platform === 'linux' && statfsSync('/dev/shm').type === TMPFS;
test('a tmpfs does too', { skip: hasTmpfs ? false : 'there is no tmpfs here' }, async (t) => {
  const folder = mkdtempSync('/dev/shm/longshore-doctor-');
  t.teardown(() => rmSync(folder, { recursive: true }));
  await isGood(t, folder);
});

test('a volume that is not there is bad, and nothing else is tried', async (t) => {
  const report = await examined(join(temporaryFolder(t), 'missing'));
  t.match(report, { verdict: 'bad', exitCode: 74 });
  t.match(report.findings[0], { check: 'answers', verdict: 'bad', says: /ENOENT/ });
  t.notOk('rename' in verdicts(report));
});

test('an interruption ends it soon, and what was written is removed', async (t) => {
  const volume = temporaryFolder(t);
  const stopping = new AbortController();
  const running = examined(volume, 60_000, stopping.signal);
  await eventually(() => readdirSync(volume).length > 0);
  stopping.abort();
  await running;
  t.same(readdirSync(volume), []);
});

interface Sick {
  readonly title: string;
  readonly rule: FaultRule;
  readonly found: Readonly<Record<string, object>>;
  /** The fault keeps it from removing what it wrote. */
  readonly isLeft?: boolean;
}

const inFolder = '/doctor-*/*';
const SICK: readonly Sick[] = [
  {
    title: 'a full volume',
    rule: { kind: 'errno', errno: 'ENOSPC', operations: ['write'] },
    found: { rename: { verdict: 'bad', code: 'STORAGE_FULL', advice: /quota/ }, listing: { verdict: 'bad' } },
  },
  {
    title: 'a volume that is mounted read-only by its server',
    rule: { kind: 'errno', errno: 'EROFS', operations: ['mkdir'] },
    found: { answers: { verdict: 'good' }, folder: { verdict: 'bad', code: 'STORAGE_READONLY' } },
  },
  {
    title: 'a volume that refuses its user',
    rule: { kind: 'errno', errno: 'EACCES', operations: ['create', 'mkdir'], path: inFolder },
    found: { rename: { verdict: 'bad', code: 'STORAGE_DENIED', advice: /let the user/ } },
  },
  {
    title: 'a volume with stale handles',
    rule: { kind: 'errno', errno: 'ESTALE', operations: ['readdir'] },
    found: { answers: { verdict: 'bad', code: 'STORAGE_STALE', advice: /mount it anew/ } },
  },
  {
    title: 'a volume whose fsync fails',
    rule: { kind: 'errno', errno: 'EIO', operations: ['fsync'] },
    found: { fsync: { verdict: 'bad', code: 'STORAGE_ERROR' }, rename: { verdict: 'good' } },
  },
  {
    title: 'a volume without hard links',
    rule: { kind: 'errno', errno: 'EPERM', operations: ['link'] },
    found: { links: { verdict: 'note' }, rename: { verdict: 'good' } },
  },
  {
    title: 'a volume that hangs in fsync alone',
    rule: { kind: 'hang', operations: ['fsync'] },
    found: { fsync: { verdict: 'hangs', code: 'STORAGE_TIMEOUT' }, listing: { verdict: 'good' } },
  },
  {
    title: 'a volume that refuses to remove files',
    rule: { kind: 'errno', errno: 'EACCES', operations: ['unlink', 'rmdir'], path: '/doctor-*/**' },
    found: { listing: { verdict: 'bad' }, cleanup: { verdict: 'note', advice: /next doctor/ } },
    isLeft: true,
  },
];

test('a sick volume is told by what it does, and the doctor leaves nothing', { skip }, async (t) => {
  const mount = await FaultyMount.start(t, temporaryFolder(t, 'longshore-doctor'));
  for (const { title, rule, found, isLeft = false } of SICK) {
    t.comment(title);
    await mount.fault(rule);
    const report = await examined(mount.volume);
    for (const [check, finding] of Object.entries(found)) {
      const seen = report.findings.find((one) => one.check === check);
      t.match(seen, finding, `${title}: ${check}`);
    }
    t.equal(verdicts(report)['file-system'], 'note', title);
    await mount.heal();
    t.equal(readdirSync(mount.behind).length > 0, isLeft, title);
    for (const name of readdirSync(mount.behind)) rmSync(join(mount.behind, name), { recursive: true });
  }
});

test('a volume that hangs is said to hang, within the limit', { skip }, async (t) => {
  const mount = await FaultyMount.start(t, temporaryFolder(t, 'longshore-doctor'));
  for (const operations of [['statfs'], ['write', 'create', 'mkdir']] as const) {
    await mount.fault({ kind: 'hang', operations, path: '/**', killable: false });
    const report = await examined(mount.volume, 12_000);
    t.match(report, { verdict: 'hangs', exitCode: 74 });
    t.ok(report.seconds < 14, `${report.seconds} s`);
    await mount.heal();
  }
});

test('VolumeTrials leaves out what has no time, and says when a program could not be run', async (t) => {
  const volume = temporaryFolder(t);
  const folder = join(volume, 'doctor-0000000000000000');
  const signal = new AbortController().signal;
  const options = { volume, folder, limits: { reserveBytes: 0 }, signal, answered: () => undefined };
  const child = new TrialChild(program);
  t.teardown(() => child.kill());
  t.same(await new VolumeTrials({ ...options, child, untilMs: performance.now() }).run(), []);
  const broken = new TrialChild(join(volume, 'no-program.cjs'));
  const untilMs = performance.now() + 60_000;
  t.match(await new VolumeTrials({ ...options, child: broken, untilMs }).run(), [
    { check: 'answers', verdict: 'warn', says: /the process for it is gone/ },
  ]);
  mkdirSync(folder);
  t.match(await child.try('listing', folder, 20_000), { is: 'facts', facts: { unseen: 0 } });
  t.match(await child.try('listing', folder, 20_000), { is: 'failed', failure: { says: /EEXIST/ } });
});
