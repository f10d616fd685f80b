/** `longshore doctor` as people and scripts use it. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { PassThrough } from 'node:stream';
import { test, type Test } from 'tap';
import { loadConfig } from '../../src/config.ts';
import { doctorCommand } from '../../src/doctor/doctor-command.ts';
import type { Report } from '../../src/doctor/report.ts';
import { FaultyMount, missingForFaults } from '../faults/faulty-mount.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function started(
  t: Test,
  ...words: string[]
): { readonly kill: (signal: NodeJS.Signals) => void; readonly ended: Promise<Ran> } {
  const child = spawn(process.execPath, [resolve('.build/cli.js'), 'doctor', ...words], {
    env: { PATH: process.env['PATH'] ?? '', UV_THREADPOOL_SIZE: '64' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString('utf8')));
  child.stderr.on('data', (bytes: Buffer) => (err += bytes.toString('utf8')));
  t.teardown(() => child.kill('SIGKILL'));
  const ended = new Promise<Ran>((done) => child.once('close', (code) => done({ code, out, err })));
  return { kill: (signal) => child.kill(signal), ended };
}

test('longshore doctor prints a table, and exits with the code of the worst finding', async (t) => {
  const volume = temporaryFolder(t);
  const { code, out } = await started(t, '--volume', volume).ended;
  t.match(out, /^good {3}rename {9}every version was whole$/m);
  t.match(out, /^good {3}cleanup/m);
  t.match(out, new RegExp(`^${volume}$`, 'm'));
  t.match(out, /^(note|warn): .*; [\d.]+ s\n$/m);
  t.equal(code, /^warn:/m.test(out) ? 1 : 0);
  t.same(readdirSync(volume), []);
});

test('--json prints one object on one line', async (t) => {
  const volume = temporaryFolder(t);
  const { code, out } = await started(t, '--json', '--volume', volume).ended;
  t.equal(out.trimEnd().split('\n').length, 1);
  const report = JSON.parse(out) as Report;
  t.match(report, { version: 1, volume, exitCode: code ?? -1 });
  t.ok(report.findings.every(({ check, says }) => check !== undefined && says.length > 0));
});

test('a volume that cannot be used exits with 74, and broken settings with 78', async (t) => {
  const folder = temporaryFolder(t);
  const missing = await started(t, '--volume', join(folder, 'missing')).ended;
  t.match(missing, { code: 74, out: /^bad {4}answers .*ENOENT/m });
  t.match(await started(t).ended, { code: 78, err: /volume is required/ });
  t.match(await started(t, '--volume', folder, '--claim', 'UPPER').ended, { code: 78, err: /claim must be/ });
  t.match(await started(t, '--volume', folder, '--limit', '1').ended, { code: 78, err: /at least 5/ });
  t.match(await started(t, '--volume', folder, '--limit', 'x').ended, { code: 64 });
});

test('^C removes what was written, prints what was found, and exits with 130', async (t) => {
  const volume = temporaryFolder(t);
  const { kill, ended } = started(t, '--volume', volume);
  await eventually(() => readdirSync(volume).length > 0);
  kill('SIGINT');
  t.match(await ended, { code: 130, out: /answers/ });
  t.same(readdirSync(volume), []);
});

test(
  'a process that the kernel holds keeps nobody waiting',
  { skip: missingForFaults() ?? false },
  async (t) => {
    const mount = await FaultyMount.start(t, temporaryFolder(t, 'longshore-doctor'));
    await mount.fault({ kind: 'hang', operations: ['fsync'], killable: false });
    const begun = performance.now();
    const { code, out } = await started(t, '--volume', mount.volume, '--limit', '20').ended;
    t.match(out, /^hangs {2}fsync .*STORAGE_TIMEOUT/m);
    t.equal(code, 74);
    t.ok(performance.now() - begun < 25_000);
    await mount.heal();
  },
);

test('a folder with an agent on it is tested beside the agent', async (t) => {
  const volume = temporaryFolder(t);
  mkdirSync(join(volume, 'longshore-v1', 'work'), { recursive: true });
  const out = new PassThrough();
  let text = '';
  out.on('data', (bytes: Buffer) => (text += bytes.toString('utf8')));
  const config = loadConfig(['--volume', volume], { UV_THREADPOOL_SIZE: '64', HOME: volume });
  const signal = new AbortController().signal;
  const limits = { json: true, limitMs: 60_000, signal };
  const code = await doctorCommand(config, limits, { out, err: out, isInteractive: false });
  t.match(JSON.parse(text), { exitCode: code });
  t.same(readdirSync(volume), ['longshore-v1']);
  t.ok(existsSync(join(volume, 'longshore-v1', 'work')));
  await t.rejects(doctorCommand(config, { ...limits, limitMs: 1 }, { out, err: out, isInteractive: false }), {
    code: 'CONFIG_INVALID',
  });
});
