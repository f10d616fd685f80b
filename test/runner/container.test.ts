/** What the runner does where it is in a container of its own. */
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { test } from 'tap';
import { oomKillCount } from '../../src/runner/cgroup-memory.ts';
import { installInto } from '../../src/runner/installation.ts';
import { isBelowFirst, ownsContainer } from '../../src/runner/own-container.ts';
import type { ProcessStat } from '../../src/runner/process-stat.ts';
import { readRunOrderFile } from '../../src/runner/run-order-input.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';
import { decode, must, runnerProgram, stageScript, streamOf } from './staged-script.ts';

/** Runs the program with its stdout in a pipe, as a container has it. */
async function runInPipes(
  ...args: string[]
): Promise<{ code: number | null; stdout: Buffer; stderr: string }> {
  const child = spawn(process.execPath, [runnerProgram(), ...args], {
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => stderr.push(bytes));
  const code = await new Promise<number | null>((settle) => child.once('close', settle));
  return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString('utf8') };
}

test('runner.cjs --order', async (t) => {
  t.test('runs the script of the file, with the whole journal in the pipe before it ends', async (t) => {
    const staged = stageScript(t, 'for n in {1..2000}; do printf "%0500d\\n" "$n"; done; exit 4');
    const path = `${staged.folder}/order.json`;
    writeFileSync(path, JSON.stringify(staged.order));
    const { code, stdout, stderr } = await runInPipes('--order', path);
    t.same([code, stderr], [0, '']);
    const journal = decode(stdout, staged.key);
    t.match(journal.end, { exitCode: 4, stdoutBytes: 2000 * 501 });
    t.same(journal.strays, []);
    t.equal(streamOf(journal, 'stdout').length, 2000 * 501);
    t.match(JSON.parse(readFileSync(staged.places.started, 'utf8')), { by: 'runner', stdout: null });
  });

  t.test('claims nothing where there is no file, or half of an order in it, and says so', async (t) => {
    const staged = stageScript(t, 'true');
    const path = `${staged.folder}/order.json`;
    t.match(await runInPipes('--order', path), { code: 70, stderr: /ENOENT.*order\.json[^]*no whole order/ });
    writeFileSync(path, JSON.stringify(staged.order).slice(0, -1));
    t.match(await runInPipes('--order', path), { code: 70, stderr: /no whole order came/ });
    t.equal(statSync(staged.places.started, { throwIfNoEntry: false }), undefined);
    t.equal(readRunOrderFile(path), undefined);
  });
});

test('runner.cjs --install', async (t) => {
  t.test('copies the folder of the program, with the modes of its files', async (t) => {
    const folder = temporaryFolder(t);
    mkdirSync(`${folder}/bin`);
    mkdirSync(`${folder}/target`);
    writeFileSync(`${folder}/bin/runner.cjs`, 'the runner');
    writeFileSync(`${folder}/bin/tini`, 'the first process');
    chmodSync(`${folder}/bin/tini`, 0o555);
    installInto(`${folder}/target`, `${folder}/bin/runner.cjs`);
    t.equal(readFileSync(`${folder}/target/runner.cjs`, 'utf8'), 'the runner');
    t.equal(statSync(`${folder}/target/tini`).mode & 0o777, 0o555);
    installInto(`${folder}/target`, `${folder}/bin/runner.cjs`);
    t.equal(readFileSync(`${folder}/target/tini`, 'utf8'), 'the first process', 'again is the same');
  });

  t.test('says what kept it from that', async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(`${folder}/file`, '');
    const { code, stderr } = await runInPipes('--install', `${folder}/file`);
    t.equal(code, 70);
    t.match(stderr, /could not install itself into .*file: /);
  });
});

test('ownsContainer() is true only where the first process is there for this program', async (t) => {
  const folder = temporaryFolder(t);
  const owns = (first: string, self: string) => {
    writeFileSync(`${folder}/first`, first);
    writeFileSync(`${folder}/self`, self);
    return ownsContainer(`${folder}/first`, `${folder}/self`);
  };
  const self = '/longshore/bin/node\0/longshore/bin/runner.cjs\0--order\0/longshore/order/order.json\0';
  t.ok(owns(`/longshore/bin/tini\0--\0${self}`, self));
  t.ok(owns(self, self), 'where it is the first process');
  t.notOk(owns('/sbin/init\0', self));
  t.notOk(owns(`/usr/bin/x${self}`, self), 'an argument is equal or not');
  t.notOk(owns('', ''), 'a kernel thread has no command line');
  t.notOk(ownsContainer(`${folder}/missing`));
  t.notOk(ownsContainer(), 'this machine does not belong to a test');
});

test('isBelowFirst()', async (t) => {
  const process = (pid: number, parent: number): [number, ProcessStat] => [
    pid,
    { pid, parent, group: pid, isDead: false, startTicks: 1 },
  ];

  t.test('finds what descends from the first process, and nothing that came from outside', async (t) => {
    // tini ─ runner ─ bash ─ make, an orphan of tini, and a shell of `kubectl exec` with a child.
    const list = new Map(
      [
        [1, 0],
        [7, 1],
        [8, 7],
        [9, 8],
        [10, 1],
        [20, 0],
        [21, 20],
      ].map(([a = 0, b = 0]) => process(a, b)),
    );
    const below = [...list.values()].filter((one) => isBelowFirst(one, list)).map(({ pid }) => pid);
    t.same(below, [7, 8, 9, 10]);
    t.ok(isBelowFirst(must(process(30, 29)[1]), list), 'an orphan whose parent just ended');
  });

  t.test('ends for every listing', async () => {
    const pair = fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 9 }));
    fc.assert(
      fc.property(fc.array(pair), (pairs) => {
        const list = new Map(pairs.map(([pid, parent]) => process(pid, parent)));
        return [...list.values()].every((one) => typeof isBelowFirst(one, list) === 'boolean');
      }),
    );
  });
});

test('oomKillCount()', async (t) => {
  const v2 = 'low 0\nhigh 0\nmax 3\noom 2\noom_kill 7\noom_group_kill 0\n';
  const v1 = 'oom_kill_disable 0\nunder_oom 0\noom_kill 5\n';
  const made = (own: string, files: Record<string, string>) => {
    const folder = temporaryFolder(t);
    writeFileSync(`${folder}/cgroup`, own);
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(`${folder}/${path}`.replace(/\/[^/]*$/, ''), { recursive: true });
      writeFileSync(`${folder}/${path}`, text);
    }
    return oomKillCount(`${folder}/cgroup`, folder);
  };

  t.test('reads cgroup v2 by path, and at the root of a namespace', async (t) => {
    t.equal(made('0::/a/b\n', { 'a/b/memory.events': v2, 'memory.events': '' }), 7);
    t.equal(made('0::/\n', { 'memory.events': v2 }), 7);
  });

  t.test('reads cgroup v1, also where a container has only its own part mounted', async (t) => {
    const own = '5:devices:/x\n4:memory:/kubepods/pod1/c1\n0::/\n';
    t.equal(made(own, { 'memory/kubepods/pod1/c1/memory.oom_control': v1 }), 5);
    t.equal(made(own, { 'memory/memory.oom_control': v1 }), 5);
    t.equal(made('4:cpu,memory,hugetlb:/c\n', { 'memory/c/memory.oom_control': v1 }), 5);
  });

  t.test('says null where there is nothing to read', async (t) => {
    t.equal(made('1:cpu:/x\n', { 'memory.events': v2 }), null);
    t.equal(made('0::/a\n', {}), null);
    t.equal(made('0::/\n', { 'memory.events': 'oom 2\n' }), null, 'a kernel before 4.13');
    t.equal(oomKillCount('/nowhere'), null);
  });
});
