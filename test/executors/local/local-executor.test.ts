/** What is special about runners that are processes of this machine; test/contracts/ has what holds for all. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { test, type Test } from 'tap';
import { FileWitness } from '../../../src/executors/local/file-witness.ts';
import { KeepFolder } from '../../../src/executors/local/keep-folder.ts';
import { LaunchLimit } from '../../../src/executors/local/launch-limit.ts';
import {
  isRunning,
  isSameProcess,
  isThere,
  markOf,
  placeOf,
  signalProcess,
} from '../../../src/executors/local/machine.ts';
import { folderNamedBy, RunFolders } from '../../../src/executors/local/run-folders.ts';
import { RunWatcher } from '../../../src/executors/local/run-watcher.ts';
import { RunnerProcess } from '../../../src/executors/local/runner-process.ts';
import { SpareRunner } from '../../../src/executors/local/spare-runner.ts';
import { Fault } from '../../../src/protocol/fault.ts';
import type { StartedClaim } from '../../../src/protocol/run-order.ts';
import { parseScriptKey, type ScriptKey } from '../../../src/protocol/ticket.ts';
import { ownClaim } from '../../../src/runner/own-claim.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { decodeFile, must, runnerProgram, stageScript, streamOf, until } from '../../runner/staged-script.ts';
import { localGround } from './local-ground.ts';

type RunnerClaim = StartedClaim & { by: 'runner' };

/** A claim of this very process, which is alive, with changes. */
function claimWith(changes: Partial<RunnerClaim>): RunnerClaim {
  const claim = ownClaim(null);
  if (claim.by !== 'runner') throw new TypeError('not a claim of a runner');
  return { ...claim, ...changes };
}

/** A program in the place of the runner. */
function program(t: Test, text: string): string {
  const path = `${temporaryFolder(t)}/program.cjs`;
  writeFileSync(path, text);
  return path;
}

function keepAwake(t: Test): void {
  const awake = setInterval(() => undefined, 1000);
  t.teardown(() => clearInterval(awake));
}

test('kill -9 of the agent', async (t) => {
  keepAwake(t);
  t.test('does not disturb a runner, and the next agent finds it by its claim', async (t) => {
    const { state, publish, agent } = localGround(t);
    const { order, claim, key, staged } = publish('for i in {1..30}; do echo $i; sleep 0.05; done');
    const agentOfOne = resolve('test/executors/local/agent-of-one.ts');
    const child = spawn(process.execPath, [agentOfOne, runnerProgram(), state, JSON.stringify(order)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((launched) => child.stdout.once('data', launched));
    child.kill('SIGKILL');
    const mine = must(await until('the claim', claim));
    const next = agent();
    t.same(await next.look(order.key, mine), { presence: 'alive' });
    await until('the result', () => existsSync(staged.places.result));
    const found = decodeFile(must(mine.by === 'runner' ? (mine.stdout ?? undefined) : undefined), key);
    const wanted = Array.from({ length: 30 }, (_, index) => `${index + 1}\n`).join('');
    t.equal(streamOf(found, 'stdout').toString(), wanted);
  });

  t.test('before the claim: the next agent sees that a runner is on its way, and can stop it', async (t) => {
    const { agent, publish, state } = localGround(t);
    const { order } = publish('true');
    const slow = agent({ runnerPath: program(t, 'setInterval(() => undefined, 1000)'), spare: false });
    await slow.launch(order);
    const next = agent();
    t.same(await next.look(order.key, undefined), { presence: 'alive' });
    await next.launch(order);
    t.equal(await next.stop(order.key, undefined), true);
    const folders = new RunFolders(state);
    const mark = must(await folders.noted(must((await folders.of(order.key))[0])));
    await until('its end', () => !isRunning(mark));
    t.same(
      await next.look(order.key, undefined),
      { presence: 'none' },
      'it has no claim and may be launched anew',
    );
  });
});

test('claims of other machines, other lives and other processes', async (t) => {
  keepAwake(t);
  const { agent, publish } = localGround(t);
  const executor = agent();
  const { order } = publish('true');
  const cases: Record<string, [Partial<RunnerClaim>, presence: string]> = {
    'this process is alive': [{}, 'alive'],
    'another process of that number is not it': [{ startTicks: '1' }, 'gone'],
    'before a restart of the machine': [{ bootId: 'another' }, 'gone'],
    'on another machine nobody here can tell': [{ host: 'another' }, 'none'],
  };
  for (const [what, [changes, presence]] of Object.entries(cases)) {
    t.match(await executor.look(order.key, claimWith(changes)), { presence }, what);
  }
  for (const changes of [
    { startTicks: '1' },
    { bootId: 'another' },
    { host: 'another' },
    { pid: 1 },
    { pid: -1 },
  ]) {
    t.equal(
      await executor.stop(order.key, claimWith(changes)),
      false,
      'no signal to a process that is not the runner',
    );
  }
  await t.rejects(executor.clear(order.key, claimWith({ host: 'another' }), order.cookie), {
    code: 'RUNNER_FAILED',
  });
  t.equal(
    await executor.witness(order.key, claimWith({ host: 'another', stdout: '/etc/passwd' })),
    undefined,
  );
});

test('a claim cannot make an agent read or remove what is no stdout of that script', async (t) => {
  const { agent, publish, state } = localGround(t);
  const { order } = publish('true');
  const executor = agent();
  const run = '0123456789ab-0123456789abcdef';
  const folder = `${state}/runs/${order.key}/${run}`;
  mkdirSync(folder, { recursive: true });
  t.equal(folderNamedBy(`${folder}/stdout`, order.key), folder);
  const { order: other } = publish('true');
  const crafted = [
    '/etc/passwd',
    `${folder}/process.json`,
    `${state}/runs/${other.key}/${run}/stdout`,
    `${folder}/../../../etc/stdout`,
    `${folder}/../${run}x/stdout`,
    `runs/${order.key}/${run}/stdout`,
    `/tmp/${order.key}/${run}/stdout`,
  ];
  for (const stdout of crafted) {
    t.equal(folderNamedBy(stdout, order.key), undefined, stdout);
    t.equal(await executor.witness(order.key, claimWith({ stdout })), undefined);
  }
  symlinkSync('/etc/passwd', `${folder}/stdout`);
  t.equal(await executor.witness(order.key, claimWith({ stdout: `${folder}/stdout` })), undefined, 'a link');
  await executor.remove(other.key, claimWith({ stdout: `${folder}/stdout` }));
  t.ok(existsSync(folder));
});

test('what keeps a runner from being started is RUNNER_NOT_STARTED with its cause', async (t) => {
  const { agent, publish } = localGround(t);
  const file = `${temporaryFolder(t)}/file`;
  writeFileSync(file, '');
  const { order } = publish('true');
  const error: unknown = await agent({ stateFolder: file, spare: false })
    .launch(order)
    .catch((caught: unknown) => caught);
  t.match(error, { code: 'RUNNER_NOT_STARTED', cause: { code: 'ENOTDIR' } });
  t.ok(error instanceof Fault);
});

test('what does not end by KILL is RUNNER_FAILED', async (t) => {
  keepAwake(t);
  const { agent, publish } = localGround(t);
  const { order } = publish('true');
  const stuck = agent({ runnerPath: program(t, 'process.exitCode = 70'), spare: false });
  await t.rejects(stuck.clear(order.key, undefined, order.cookie), { code: 'RUNNER_FAILED' });
});

test('runners get the environment that was given, without what is for the agent and its Node', async (t) => {
  keepAwake(t);
  const { agent, publish } = localGround(t);
  const { order, key, claim } = publish('env');
  const environment = {
    PATH: process.env['PATH'],
    KEPT: 'kept',
    LONGSHORE_KEY: 'secret',
    NODE_OPTIONS: '--no-such-option',
  };
  const executor = agent({ environment, spare: false });
  await executor.launch(order);
  const mine = await until('the claim', () => claim() as RunnerClaim | undefined);
  const text = await until('the end', () => {
    const found = decodeFile(must(mine.stdout ?? undefined), key);
    return found.end && streamOf(found, 'stdout').toString();
  });
  t.match(text, /^KEPT=kept$/m);
  t.notMatch(text, /LONGSHORE_KEY|NODE_OPTIONS|UV_THREADPOOL_SIZE/);
});

test('the spare runner', async (t) => {
  keepAwake(t);
  const spares = (state: string): string[] => {
    return existsSync(`${state}/runs/.spare`) ? readdirSync(`${state}/runs/.spare`) : [];
  };

  t.test('takes the next script, and another one is made when it is quiet', async (t) => {
    const { agent, publish, state } = localGround(t);
    const executor = agent();
    await executor.prepare();
    await executor.prepare();
    t.equal(spares(state).length, 1);
    const { order, claim } = publish('true');
    const [spare] = spares(state);
    const { pid } = JSON.parse(readFileSync(`${state}/runs/.spare/${spare}/process.json`, 'utf8')) as {
      pid: number;
    };
    await executor.launch(order);
    const mine = await until('the claim', () => claim() as RunnerClaim | undefined);
    t.equal(mine.pid, pid);
    t.equal(
      folderNamedBy(mine.stdout, order.key)?.startsWith(`${state}/runs/`),
      true,
      'the claim names the new place',
    );
    await until('another spare', () => spares(state).length === 1);
    await executor.close();
    t.same(spares(state), []);
  });

  t.test('that died meanwhile is not missed', async (t) => {
    const { agent, publish, state } = localGround(t);
    const executor = agent();
    await executor.prepare();
    const [spare] = spares(state);
    const { pid } = JSON.parse(readFileSync(`${state}/runs/.spare/${spare}/process.json`, 'utf8')) as {
      pid: number;
    };
    process.kill(pid, 'SIGKILL');
    await until('its death', () => markOf(pid) === undefined);
    const { order, runs, staged } = publish('true');
    await executor.launch(order);
    await until('the result', () => existsSync(staged.places.result));
    t.equal(runs(), 1);
  });

  t.test('ends with its agent, and the next agent removes what it left', async (t) => {
    const state = temporaryFolder(t);
    const folders = new RunFolders(state);
    const made = { runnerPath: runnerProgram(), environment: process.env };
    const process_ = await RunnerProcess.start(made, folders.stdoutOf(await folders.makeSpare()), '--spare');
    await folders.note(must((await folders.spares())[0]), process_.mark);
    process_.dismiss();
    await process_.ended;
    t.match(process_.sighting, { presence: 'gone', exitCode: 70 });
    const next = new SpareRunner(made, folders);
    await next.prepare();
    t.equal((await folders.spares()).length, 1);
    t.ok(isRunning(must(await folders.noted(must((await folders.spares())[0])))));
    await next.close();
    t.equal(next.take(), undefined);
    t.same(await folders.spares(), []);
  });
});

test('RunFolders tells the folders of a script, the newest first, and reads notes that are whole', async (t) => {
  const folders = new RunFolders(temporaryFolder(t));
  const { key } = stageScript(t, '').order;
  t.same(await folders.of(key), []);
  const first = await folders.make(key);
  const made = Date.now();
  await until('the clock has gone on', () => Date.now() > made);
  const second = await folders.make(key);
  t.same(await folders.of(key), [second, first]);
  t.equal(await folders.noted(first), undefined);
  writeFileSync(`${first}/process.json`, '{"pid":1');
  t.equal(await folders.noted(first), undefined);
  await folders.note(first, { pid: 5, startTicks: '7' });
  t.same(await folders.noted(first), { pid: 5, startTicks: '7' });
});

test('FileWitness reads a plain file and nothing else', async (t) => {
  const folder = temporaryFolder(t);
  execFileSync('mkfifo', [`${folder}/fifo`]);
  for (const name of ['fifo', 'none', '', 'none/none'])
    t.equal(await FileWitness.open(`${folder}/${name}`), undefined);
});

test('processes are told from later ones of the same number', async (t) => {
  const mark = must(markOf(process.pid));
  t.ok(isRunning(mark));
  t.notOk(isRunning({ ...mark, startTicks: '1' }));
  t.notOk(isSameProcess(mark, { ...mark, startTicks: '1' }));
  t.same([isThere(mark), isThere({ pid: 2 ** 22 + 1, startTicks: '' })], [true, false]);
  t.equal(markOf(2 ** 22 + 1), undefined);
  t.equal(signalProcess({ ...mark, startTicks: '1' }, 'SIGKILL'), false);
  t.equal(placeOf(claimWith({})), 'here');
  t.equal(placeOf(claimWith({ host: `${hostname()}x` })), 'elsewhere');
});

test('LaunchLimit lets so many go on at once, and goes on after a failure', async (t) => {
  t.throws(() => new LaunchLimit(0), RangeError);
  const limit = new LaunchLimit(2);
  let running = 0;
  let most = 0;
  const launch = (index: number) => async (): Promise<number> => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((next) => setImmediate(next));
    running -= 1;
    if (index === 1) throw new Error('failed');
    return index;
  };
  const ends = await Promise.allSettled(Array.from({ length: 7 }, (_, index) => limit.run(launch(index))));
  t.equal(most, 2);
  t.same(ends.map(({ status }) => status).filter((status) => status === 'rejected').length, 1);
});

test('RunWatcher tells of the one runner among 200 that writes, and of no other', async (t) => {
  keepAwake(t);
  const folder = temporaryFolder(t);
  const watcher = new RunWatcher();
  t.teardown(() => watcher.close());
  const { signal } = new AbortController();
  const told: number[] = [];
  const process_ = must(markOf(process.pid));
  for (let index = 0; index < 200; index += 1) {
    const key = keyOf(index);
    writeFileSync(`${folder}/${index}`, '');
    const watch = { changed: () => told.push(index), signal };
    watcher.add(key, watch);
    watcher.resolve(key, watch, { stdout: `${folder}/${index}`, process: process_ });
  }
  await until('all were told of what was there before', () => new Set(told).size === 200);
  told.length = 0;
  writeFileSync(`${folder}/7`, 'output');
  await until('output', () => told.includes(7));
  t.same([...new Set(told)], [7]);
});

/** A key that parses, one for each number. */
function keyOf(index: number): ScriptKey {
  return must(parseScriptKey(`watched-${String(index).padStart(24, '0')}`));
}

test('KeepFolder leaves alone what is not its own, and leaves nothing half-written', async (t) => {
  const folder = temporaryFolder(t);
  const keep = new KeepFolder(folder);
  t.same([...(await keep.all())], [], 'before anything was kept');
  const key = must(parseScriptKey('t1-0123456789abcdef01234567'));
  await keep.put(key, 'text');
  writeFileSync(`${folder}/kept/.${key}.0123456789abcdef`, 'half');
  writeFileSync(`${folder}/kept/notes.txt`, 'of somebody else');
  t.same([...(await new KeepFolder(folder).all())], [[key, 'text']]);
  await keep.forget(key);
  await keep.forget(key);
  t.same(readdirSync(`${folder}/kept`).sort(), [`.${key}.0123456789abcdef`, 'notes.txt']);
});

test('a copied script', async (t) => {
  keepAwake(t);
  const copy = { folder: null, maxBytes: 2 ** 30, collectMs: 60_000 };

  t.test('works in the folder of its run, and leaves nothing there', async (t) => {
    const { state, publish, agent } = localGround(t);
    const { order, claim, staged } = publish('pwd; echo x > "$LONGSHORE_ARTIFACTS/a"', { copy });
    const claimed = (): RunnerClaim => runnerClaim(claim());
    const executor = agent({ spare: false });
    await executor.launch(order);
    await until('the artifact on the volume', () => existsSync(`${staged.places.artifacts}/a`));
    const [run] = await new RunFolders(state).of(order.key);
    await until('the end of the runner', () => !isRunning(claimed()));
    const stdout = decodeFile(`${must(run)}/stdout`, staged.key);
    t.equal(streamOf(stdout, 'stdout').toString(), `${must(run)}/copy/files\n`);
    t.same(await new RunFolders(state).copiesOf(order.key), []);
  });

  t.test('whose runner was killed leaves a copy, which is removed when it is cleared', async (t) => {
    const { state, publish, agent } = localGround(t);
    const script = 'mkdir closed; touch closed/x; chmod 000 closed; echo up; sleep 60';
    const { order, claim, staged } = publish(script, { copy });
    const claimed = (): RunnerClaim => runnerClaim(claim());
    const executor = agent({ spare: false });
    await executor.launch(order);
    const [run] = await new RunFolders(state).of(order.key);
    const isUp = (): boolean =>
      streamOf(decodeFile(`${must(run)}/stdout`, staged.key), 'stdout').includes('up');
    await until('the script is up', isUp);
    signalProcess(claimed(), 'SIGKILL');
    await until('the end of the runner', () => !isRunning(claimed()));
    t.equal((await new RunFolders(state).copiesOf(order.key)).length, 1);
    await executor.clear(order.key, claim(), order.cookie);
    t.same(await new RunFolders(state).copiesOf(order.key), []);
  });
});

function runnerClaim(claim: StartedClaim | undefined): RunnerClaim {
  if (claim?.by === 'runner') return claim;
  throw new TypeError('no runner has claimed');
}
