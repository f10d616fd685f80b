/** `longshore doctor` on a real cluster: two pods on two nodes try a claim, and are gone afterwards. */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'tap';
import type { Report } from '../../../src/doctor/report.ts';
import { eventually } from '../../harness/eventually.ts';
import { groundFor, podFlags, USER, type Ground } from './ground.ts';

const LIMIT_S = '90';

interface Doctor {
  readonly interrupt: () => void;
  readonly ended: Promise<{ readonly code: number | null; readonly out: string; readonly err: string }>;
}

function doctor(ground: Ground, name: string, ...more: string[]): Doctor {
  const volume = ground.subfolder(name);
  const settings = [...podFlags(ground, name), '--pod-uid', String(USER), '--pod-gid', String(USER), ...more];
  const words = ['doctor', '--json', '--limit', LIMIT_S, '--volume', volume, ...settings];
  const child = spawn(process.execPath, [resolve('.build/cli.js'), ...words], {
    env: { PATH: process.env['PATH'] ?? '', UV_THREADPOOL_SIZE: '64' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString('utf8')));
  child.stderr.on('data', (bytes: Buffer) => (err += bytes.toString('utf8')));
  const ended = new Promise<Awaited<Doctor['ended']>>((done) =>
    child.once('close', (code) => done({ code, out, err })),
  );
  return { interrupt: () => void child.kill('SIGINT'), ended };
}

async function doctorPods(ground: Ground): Promise<string[]> {
  const selector = 'app.kubernetes.io/component=doctor';
  const names = await ground.kubectl('get', 'pods', '--selector', selector, '-o', 'name');
  return names.split('\n').filter((name) => name !== '');
}

test('longshore doctor with a claim', async (t) => {
  const ground = await groundFor(t);

  t.test('two nodes see, race for and mount what the other does; nothing is left', async (t) => {
    const { out, err, code } = await doctor(ground, 'good').ended;
    const report = JSON.parse(out) as Report;
    t.equal(code, report.exitCode, err);
    const of = (name: string) => report.findings.find(({ check }) => check === name);
    t.match(of('pods'), { verdict: 'good' }, 'the two pods met', { findings: report.findings });
    const nodes = of('pods')?.measured?.split(', ') ?? [];
    t.equal(new Set(nodes).size, 2, 'each on a node of its own');
    t.match(of('pod-user'), { verdict: 'good', figures: { uid: USER, ownerUid: USER } });
    for (const change of ['create', 'append', 'rename', 'delete', 'list'])
      t.match(of(`nodes-${change}`), { figures: { rounds: 5, unseen: 0 } }, change);
    t.match(of('nodes-exclusive'), { verdict: 'good' });
    t.match(of('nodes-whole'), { verdict: 'good' });
    t.match(of('sub-path'), { verdict: 'good' });
    await eventually(async () => (await doctorPods(ground)).length === 0, 60_000);
    t.same(readdirSync(ground.subfolder('good')), []);
  });

  t.test(
    'an image that no node has is told in the words of the kubelet, and the pods are gone',
    async (t) => {
      const missing = ['--runner-image', 'localhost/there-is-no-such-image:0'];
      const { out } = await doctor(ground, 'no-image', ...missing, '--limit', '40').ended;
      const { findings } = JSON.parse(out) as Report;
      t.match(
        findings.find(({ check }) => check === 'pods'),
        { verdict: 'warn', says: /ErrImageNeverPull/ },
      );
      await eventually(async () => (await doctorPods(ground)).length === 0, 60_000);
    },
  );

  t.test('^C removes the pods, which remove what they wrote', async (t) => {
    const { interrupt, ended } = doctor(ground, 'interrupted');
    await eventually(async () => (await doctorPods(ground)).length >= 2, 60_000);
    interrupt();
    t.match(await ended, { code: 130 });
    await eventually(async () => (await doctorPods(ground)).length === 0, 60_000);
    await eventually(() => readdirSync(ground.subfolder('interrupted')).length === 0, 60_000);
  });
});
