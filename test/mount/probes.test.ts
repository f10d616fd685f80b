/** Probes by real processes: whatever hangs, there is an answer in time and nothing is left. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import type { ProbePlaces, ProbeReport } from '../../src/mount/probe-words.ts';
import { Probes, type ProbesOptions } from '../../src/mount/probes.ts';
import { VolumeLayout } from '../../src/protocol/volume-layout.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

type Test = { teardown: (work: () => unknown) => void };

const PROGRAM = fileURLToPath(import.meta.resolve('longshore/probe'));
const EPOCH = `${'ab'.repeat(16)}\n`;
/** Long for a machine that is busy with other tests; what is awaited is never this deadline but where it is the subject. */
const PATIENT_MS = 20_000;

function volumeIn(t: Test): ProbePlaces {
  const root = temporaryFolder(t);
  const layout = new VolumeLayout(root);
  for (const folder of layout.folders) mkdirSync(folder, { recursive: true });
  writeFileSync(layout.epoch, EPOCH);
  return { root, epoch: layout.epoch, canaries: layout.canary, canary: layout.canaryFile('me') };
}

function probesOf(t: Test, places: ProbePlaces, given: Partial<ProbesOptions> = {}): Probes {
  const deadlineMs = { liveness: PATIENT_MS, canary: PATIENT_MS };
  const probes = new Probes({ program: PROGRAM, places, deadlineMs, maxLeaked: 2, ...given });
  t.teardown(() => probes.close());
  return probes;
}

/** Opening it for reading waits for a writer that never comes. */
function makeItHang(path: string): void {
  rmSync(path, { force: true });
  execFileSync('mkfifo', [path]);
}

const steps = ({ steps: made }: ProbeReport): string[] => made.map(({ step }) => step);

/** Processes that run the bundle and whose parents are `pid` or children of it. */
function familyOf(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
      if (!/\) Z /.test(stat)) parents.set(Number(entry), Number(stat.split(') ')[1]?.split(' ')[1]));
    } catch {
      // It ended meanwhile.
    }
  }
  const own = [...parents].filter(([, parent]) => parent === pid).map(([child]) => child);
  return own.flatMap((child) => [child, ...familyOf(child)]);
}

const probeFamily = (): number[] =>
  familyOf(process.pid).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('probe-main');
    } catch {
      return false;
    }
  });

test('probe() for liveness tells the root and the epoch of a volume that answers', async (t) => {
  const probes = probesOf(t, volumeIn(t));
  const report = await probes.probe('liveness');
  t.match(report, { kind: 'liveness', end: 'answered', leaked: 0 });
  t.same(steps(report), ['statfs', 'epoch']);
  t.equal(report.steps[1]?.text, EPOCH);
});

test('probe() for liveness tells an absent epoch and an absent root by their errno', async (t) => {
  const places = volumeIn(t);
  const probes = probesOf(t, places);
  rmSync(places.epoch);
  t.match(await probes.probe('liveness'), { end: 'answered', steps: [{ step: 'statfs' }, { errno: 2 }] });
  rmSync(places.root, { recursive: true });
  const report = await probes.probe('liveness');
  t.same(steps(report), ['statfs', 'list', 'epoch']);
  t.same(
    report.steps.map(({ errno }) => errno),
    [2, 2, 2],
  );
});

test('probe() with a canary writes, renames and reads back, and leaves one file', async (t) => {
  const places = volumeIn(t);
  const probes = probesOf(t, places);
  for (let round = 0; round < 3; round += 1) {
    const report = await probes.probe('canary');
    t.same(steps(report), ['write', 'rename', 'read', 'sweep']);
    t.ok(report.steps.every(({ says }) => says === undefined));
  }
  t.same(readdirSync(places.canaries), ['probe-me']);
});

test('probe() with a canary sweeps canaries that are old, and nothing else', async (t) => {
  const places = volumeIn(t);
  for (const name of ['probe-dead', 'probe-dead~tmp-0123456789abcdef', 'probe-alive', 'ballast']) {
    writeFileSync(`${places.canaries}/${name}`, 'x');
    if (name !== 'probe-alive') utimesSync(`${places.canaries}/${name}`, 0, 0);
  }
  await probesOf(t, places).probe('canary');
  t.same(readdirSync(places.canaries).sort(), ['ballast', 'probe-alive', 'probe-me']);
});

test('probe() with a canary tells the step that fails', async (t) => {
  const places = volumeIn(t);
  rmSync(places.canaries, { recursive: true });
  const report = await probesOf(t, places).probe('canary');
  t.match(report, { end: 'answered', steps: [{ step: 'write', errno: 2 }] });
  t.equal(report.steps.length, 1);
});

test('probe() kills a child that hangs at its deadline, tells what had answered, and the next one works', async (t) => {
  const places = volumeIn(t);
  const probes = probesOf(t, places, { deadlineMs: { liveness: 400, canary: 400 } });
  const answers = async (): Promise<boolean> => (await probes.probe('liveness')).end === 'answered';
  // A child that runs: on a busy machine it may take longer to start than this deadline.
  await eventually(answers);
  makeItHang(places.epoch);
  const missed = await probes.probe('liveness');
  t.match(missed, { end: 'missed', steps: [{ step: 'statfs' }] });
  t.ok(missed.seconds >= 0.4);
  rmSync(places.epoch);
  writeFileSync(places.epoch, EPOCH);
  await eventually(answers);
  await eventually(async () => (await probes.probe('liveness')).leaked === 0);
});

test('invariant 7: a canary that hangs does not stand in the way of liveness, and is never added to', async (t) => {
  const probes = probesOf(t, volumeIn(t));
  await probes.probe('canary');
  // The nursery and the child of the canary. Stopped, it takes an order and says nothing, like one that hangs.
  const [, child = 0] = probeFamily();
  process.kill(child, 'SIGSTOP');
  const hanging = probes.probe('canary');
  t.equal((await probes.probe('liveness')).end, 'answered');
  t.match(await probes.probe('canary'), { end: 'none', says: /not over/ });
  process.kill(child, 'SIGCONT');
  t.equal((await hanging).end, 'answered');
});

test('probe() answers also when the nursery dies, says so, and start() makes another', async (t) => {
  const probes = probesOf(t, volumeIn(t), { deadlineMs: { liveness: PATIENT_MS, canary: PATIENT_MS } });
  await probes.probe('liveness');
  const asked = probes.probe('liveness');
  for (const pid of probeFamily()) process.kill(pid, 'SIGKILL');
  await asked;
  await eventually(() => !probes.isUp);
  t.match(await probes.probe('liveness'), { end: 'none', says: /gone/ });
  probes.start();
  t.equal((await probes.probe('liveness')).end, 'answered');
});

test('close() leaves no process, also of children that hang', async (t) => {
  const places = volumeIn(t);
  const probes = probesOf(t, places, { deadlineMs: { liveness: 60_000, canary: PATIENT_MS } });
  await probes.probe('canary');
  makeItHang(places.epoch);
  const hanging = probes.probe('liveness');
  await eventually(() => probeFamily().length === 3);
  await probes.close();
  t.equal((await hanging).end, 'none');
  await eventually(() => probeFamily().length === 0);
  await probes.close();
  t.match(await probes.probe('liveness'), { end: 'none' });
});
