/** The parts of a runner that deal with processes, pipes, time and the kernel, each on its own. */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { test, type Test } from 'tap';
import { environmentNameFor } from '../../src/protocol/environment-name.ts';
import { monotonicMs } from '../../src/runner/clock.ts';
import { scriptEnvironment } from '../../src/runner/environment.ts';
import { FrameWriter } from '../../src/runner/frame-writer.ts';
import { interpreterFor } from '../../src/runner/interpreter.ts';
import { PipeReader } from '../../src/runner/pipe-reader.ts';
import { readStat } from '../../src/runner/process-stat.ts';
import { ProcessTree } from '../../src/runner/process-tree.ts';
import { rehearse } from '../../src/runner/rehearsal.ts';
import { runScript } from '../../src/runner/run.ts';
import { readRunOrder } from '../../src/runner/run-order-input.ts';
import { ScriptCourse } from '../../src/runner/script-course.ts';
import { ScriptOutput } from '../../src/runner/script-output.ts';
import { prepareScript } from '../../src/runner/script-preparation.ts';
import { ScriptProcess } from '../../src/runner/script-process.ts';
import { openStdoutWitness, type StdoutWitness } from '../../src/runner/stdout-witness.ts';
import { StopRequest } from '../../src/runner/stop-request.ts';
import { superviseScript } from '../../src/runner/supervision.ts';
import { VolumeFiles } from '../../src/runner/volume-files.ts';
import { within } from '../../src/runner/within.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';
import { decode, decodeFile, must, processesWith, stageScript, streamOf, until } from './staged-script.ts';

const never = new Promise<never>(() => undefined);

test('readStat() reads a process whatever its name is, and none that is not there', async (t) => {
  const folder = temporaryFolder(t);
  execFileSync('cp', [execFileSync('which', ['sleep'], { encoding: 'utf8' }).trim(), `${folder}/) R 1 (`]);
  const child = spawn(`${folder}/) R 1 (`, ['60'], { detached: true });
  const stat = must(readStat(must(child.pid)));
  t.match(stat, { pid: child.pid, group: child.pid, isDead: false });
  t.ok(stat.startTicks >= must(readStat('self')).startTicks);
  child.kill();
  await new Promise((ended) => child.once('exit', ended));
  t.equal(readStat(must(child.pid)), undefined);
});

test('ProcessTree', async (t) => {
  const start = (script: string, cookie: string) =>
    spawn('bash', ['-c', script], {
      detached: true,
      stdio: 'ignore',
      env: { ...process.env, LONGSHORE_COOKIE: cookie },
    });

  t.test('finds by group and by cookie, and nothing that is older or of another script', async (t) => {
    const child = start('setsid sleep 60 & env -i sleep 60 & wait', 'mine');
    const other = start('sleep 60', 'mine-too');
    const group = must(child.pid);
    const sinceTicks = must(readStat(group)).startTicks;
    const tree = new ProcessTree({ cookie: 'mine', group, sinceTicks });
    await until('its three processes', () => processesWith('mine').length === 2);
    let found = await tree.find();
    while (found.length < 3) found = await tree.find();
    t.equal(found.length, 3);
    t.notOk(found.some(({ pid }) => pid === other.pid));
    t.same(await new ProcessTree({ cookie: 'mine', group, sinceTicks: sinceTicks + 1e6 }).find(), []);
    const end = await tree.kill();
    t.same([end.killed.size, end.left], [3, []]);
    t.same(await tree.find(), []);
    other.kill('SIGKILL');
  });

  t.test('end() reaches what is started during the grace, and KILLs only what ignores TERM', async (t) => {
    const child = start(
      `trap 'sleep 60 & sleep 0.2; exit' TERM; (trap '' TERM; while :; do sleep 0.1; done) & while :; do sleep 0.05; done`,
      'ending',
    );
    await until('the processes', () => processesWith('ending').length >= 2);
    const tree = new ProcessTree({ cookie: 'ending', group: must(child.pid) });
    const { killed, met, left } = await tree.end(1000);
    t.ok(killed.size >= 1 && killed.size < met.size, `${killed.size} of ${met.size}`);
    t.same(left, []);
    t.same(processesWith('ending'), []);
    t.same([...(await tree.end(1000)).met], []);
  });
});

test('exit codes 0 to 255 pass through the prelude', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(`${folder}/script`, 'exit "$1"');
  const bash = interpreterFor('bash', process.env['PATH']);
  const codes = Array.from({ length: 256 }, (_, code) => code);
  const found: (number | null)[] = [];
  for (const code of codes) {
    const options = {
      bash,
      folder,
      script: `${folder}/script`,
      arguments: [String(code)],
      environment: process.env,
    };
    const script = await ScriptProcess.prepare(options);
    script.begin('cookie');
    found.push((await script.exited).exitCode);
  }
  t.same(found, codes);
});

test('ScriptProcess', async (t) => {
  const options = (t: Test, text: string) => {
    const folder = temporaryFolder(t);
    writeFileSync(`${folder}/script`, text);
    const bash = interpreterFor('bash', process.env['PATH']);
    return { bash, folder, script: `${folder}/script`, arguments: [], environment: process.env };
  };

  t.test('runs nothing before it is told to, and nothing at all when it is abandoned', async (t) => {
    const made = options(t, 'touch ran');
    const script = await ScriptProcess.prepare(made);
    t.match(readStat(script.pid), { group: script.pid, startTicks: script.startTicks });
    await script.abandon();
    t.equal(await script.begun, '');
    t.same(execFileSync('ls', [made.folder], { encoding: 'utf8' }), 'script\n');
  });

  t.test(
    'is among what is cleared before it has begun, but not among what a script left behind',
    async (t) => {
      const { order } = stageScript(t, 'true');
      const script = await prepareScript(order, process.env);
      const { cookie } = order;
      t.same(await new ProcessTree({ cookie }).find(), []);
      const { killed } = await new ProcessTree({ cookie, withPreludes: true }).kill();
      t.same([...killed], [script.pid]);
      t.match(await script.exited, { signal: 'SIGKILL' });
    },
  );

  t.test('says what kept it from beginning', async (t) => {
    const script = await ScriptProcess.prepare({ ...options(t, ''), folder: '/no/such/folder' });
    script.begin('cookie');
    t.match(await script.begun, /no\/such\/folder: No such file/);
  });

  t.test('does not run BASH_ENV before the script, and exports functions and variables to it', async (t) => {
    const made = options(t, 'greet; echo "$BASH_ENV_RAN" "$LONGSHORE_COOKIE"; echo "$-"');
    writeFileSync(`${made.folder}/env`, 'BASH_ENV_RAN=${BASH_ENV_RAN}x');
    const environment = {
      ...process.env,
      BASH_ENV: `${made.folder}/env`,
      'BASH_FUNC_greet%%': '() { echo hello; }',
    };
    const script = await ScriptProcess.prepare({ ...made, environment });
    const fds = script.openOutput();
    script.begin('the-cookie');
    let out = '';
    const reader = new PipeReader(fds.stdout, (bytes) => (out += String(bytes)));
    closeSync(fds.stderr);
    await reader.ended;
    t.match(out, /^hello\nx the-cookie\n[a-zA-Z]+\n$/);
    t.notMatch(out, /p[a-zA-Z]*\n$/, 'not privileged');
  });
});

/** A pipe with its writer's end and a reader that gathers text. */
function readFifo(t: Test): { writer: number; reader: PipeReader; text: () => string } {
  const fifo = `${temporaryFolder(t)}/fifo`;
  execFileSync('mkfifo', [fifo]);
  const fd = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(fifo, constants.O_WRONLY);
  let text = '';
  return { writer, reader: new PipeReader(fd, (bytes) => (text += String(bytes))), text: () => text };
}

test('PipeReader stops when it is held, goes on when released, and ends with its last writer', async (t) => {
  const [held, free] = [readFifo(t), readFifo(t)];
  writeSync(held.writer, 'one');
  await until('the first bytes', () => held.text() === 'one');
  held.reader.hold();
  writeSync(held.writer, 'two');
  // Both pipes are asked in one poll, so a reader that were not held would have its bytes before this one.
  writeSync(free.writer, 'later');
  await until('the bytes of a reader beside it', () => free.text() === 'later');
  t.equal(held.text(), 'one');
  held.reader.release();
  held.reader.release();
  await until('the other bytes', () => held.text() === 'onetwo');
  for (const { writer, reader } of [held, free]) {
    closeSync(writer);
    await reader.ended;
  }
  t.equal(held.text(), 'onetwo');
});

test('ScriptOutput passes bytes on masked and in lines, and closes with what it has', async (t) => {
  const fifo = `${temporaryFolder(t)}/fifo`;
  execFileSync('mkfifo', [fifo]);
  const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  const key = Buffer.alloc(32);
  const frames: Buffer[] = [];
  const journal = new FrameWriter({ key, maxBytes: 1e6, write: (frame) => frames.push(frame) });
  const output = new ScriptOutput({
    kind: 'stderr',
    fd,
    secrets: [Buffer.from('hidden')],
    journal,
    stdout: quietWitness(),
  });
  const writer = openSync(fifo, constants.O_WRONLY);
  writeSync(writer, 'a hid');
  await until('the first part', () => output.bytes === 5);
  writeSync(writer, 'den b\nrest hidde');
  await until('all', () => output.bytes === 21);
  output.close();
  output.close();
  journal.flush();
  t.equal(streamOf(decode(Buffer.concat(frames), key), 'stderr').toString(), 'a ******** b\nrest hidde');
  closeSync(writer);
});

function quietWitness(): StdoutWitness {
  return {
    path: null,
    isCongested: false,
    write: () => undefined,
    drained: async () => undefined,
    end: async () => true,
  };
}

test('superviseScript() and ScriptCourse', async (t) => {
  t.test('a course that must not begin ends with the reason, and nothing ran', async (t) => {
    const { order, places } = stageScript(t, 'touch "$LONGSHORE_ARTIFACTS/ran"');
    const journal = new FrameWriter({ key: Buffer.alloc(32), maxBytes: 1e6, write: () => undefined });
    const reason = new Error('must not');
    const end = await new ScriptCourse({
      ...{ order, journal, stdout: quietWitness(), stop: new StopRequest(), crashed: never },
      checked: Promise.reject(reason),
      preparing: prepareScript(order, process.env),
      wholeContainer: false,
    }).run();
    t.match(end, { error: reason, exitCode: null, signal: null, stdoutBytes: 0 });
    t.same(execFileSync('ls', [places.artifacts], { encoding: 'utf8' }), '');
  });

  t.test('a working directory that cannot be entered is a fault of the storage', async (t) => {
    const { order, places } = stageScript(t, 'true');
    const preparing = prepareScript(order, process.env);
    execFileSync('rmdir', [places.files]);
    const journal = new FrameWriter({ key: Buffer.alloc(32), maxBytes: 1e6, write: () => undefined });
    const end = await new ScriptCourse({
      ...{ order, journal, stdout: quietWitness(), stop: new StopRequest(), crashed: never, preparing },
      checked: Promise.resolve(),
      wholeContainer: false,
    }).run();
    t.match(end, { error: { code: 'STORAGE_ERROR', message: /No such file/ }, exitCode: null });
  });

  t.test('the end of the script and of its processes are told apart', async (t) => {
    const { order } = stageScript(t, 'sleep 60 & exit 3', { drainMs: 50 });
    const script = await prepareScript(order, process.env);
    const fds = script.openOutput();
    const stdout = quietWitness();
    const journal = new FrameWriter({ key: Buffer.alloc(32), maxBytes: 1e6, write: () => undefined });
    const outputs = (['stdout', 'stderr'] as const).map(
      (kind) => new ScriptOutput({ kind, fd: fds[kind], secrets: [], journal, stdout }),
    );
    const tree = new ProcessTree({ cookie: order.cookie, group: script.pid });
    script.begin(order.cookie);
    const end = await superviseScript({
      order,
      script,
      tree,
      outputs,
      journal,
      stdout,
      stop: new StopRequest(),
    });
    t.match(end, { exitCode: 3, signal: null, stoppedBy: null, leftBehind: 1 });
  });
});

test('runScript() tells whether its record was written', async (t) => {
  const staged = stageScript(t, 'exit 2');
  const fd = openSync(`${staged.folder}/stdout`, 'ax');
  const host = () => ({
    stdout: openStdoutWitness(fd),
    files: new VolumeFiles({ deadlineMs: 1000 }),
    preparing: prepareScript(staged.order, process.env),
    stop: new StopRequest(),
    crashed: never,
    wholeContainer: false,
  });
  t.equal(await runScript(staged.order, host()), 'recorded');
  t.match(decodeFile(`${staged.folder}/stdout`, staged.key).end, { exitCode: 2 });
  const second = host();
  t.equal(await runScript(staged.order, second), 'silent');
  await (await second.preparing).abandon();
  closeSync(fd);
});

test('rehearse() does once what a first line needs, and leaves nothing', async (t) => {
  await t.resolves(rehearse(process.env));
  await t.rejects(rehearse({ PATH: '/nowhere' }), { code: 'INTERPRETER_MISSING' });
});

test('readRunOrder() takes a whole order and nothing less', async (t) => {
  const folder = temporaryFolder(t);
  const { order } = stageScript(t, 'true', { arguments: ['x'.repeat(300_000)] });
  const read = (text: string) => {
    writeFileSync(`${folder}/order`, text);
    const fd = openSync(`${folder}/order`, 'r');
    t.teardown(() => closeSync(fd));
    return readRunOrder(fd);
  };
  t.same(read(JSON.stringify(order)), order);
  t.equal(read(JSON.stringify(order).slice(0, 1000)), undefined);
  t.equal(read(''), undefined);
});

test('interpreterFor() looks along the PATH for a file that may be run', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(`${folder}/a/bash`, { recursive: true });
  mkdirSync(`${folder}/b`);
  writeFileSync(`${folder}/b/bash`, '', { mode: 0o755 });
  t.equal(
    interpreterFor('bash', `relative:${folder}/a:${folder}/none:${folder}/b:/usr/bin`),
    `${folder}/b/bash`,
  );
  t.match(interpreterFor('bash'), /^\/.*\/bash$/);
  t.throws(() => interpreterFor('bash', `${folder}/a`), { code: 'INTERPRETER_MISSING' });
});

test('scriptEnvironment() gives variables names that a shell can say', async (t) => {
  const names = { 'Db.Password': 'Db_Password', '1st': '_1st', 'ä-b c': '__b_c', '🚢': '_', OK_1: 'OK_1' };
  for (const [name, wanted] of Object.entries(names)) t.equal(environmentNameFor(name), wanted);
  const { order } = stageScript(t, '', { variables: [{ name: 'HOME', value: '/x', sensitive: false }] });
  const base = {
    HOME: '/root',
    NODE_OPTIONS: '--x',
    LONGSHORE_KEY: 'x',
    UV_THREADPOOL_SIZE: '64',
    UV_OTHER: 'kept',
  };
  t.same(Object.keys(scriptEnvironment(order, base)).toSorted(), [
    ...[
      'HOME',
      'LONGSHORE_ARTIFACTS',
      'LONGSHORE_PACKAGES',
      'LONGSHORE_PRELUDE',
      'LONGSHORE_TICKET',
      'LONGSHORE_WORKSPACE',
      'UV_OTHER',
    ],
  ]);
  t.equal(scriptEnvironment(order, base)['HOME'], '/x');
});

test('StopRequest', async (t) => {
  t.test('keeps the first reason', async (t) => {
    const stop = new StopRequest();
    t.equal(stop.by, null);
    stop.ask('signal');
    stop.ask('deadline');
    t.same([stop.by, await stop.asked], ['signal', 'signal']);
  });

  t.test(
    'asks by itself after its time, not before, also where that is longer than a timer can',
    async (t) => {
      const long = new StopRequest();
      long.arm(2 ** 31 + 1000);
      const short = new StopRequest();
      short.arm(30);
      t.equal(await short.asked, 'deadline');
      t.equal(long.by, null, 'setTimeout() fires at once beyond 2^31 ms');
      long.disarm();
    },
  );
});

test('within() waits for its time at most, and monotonicMs() goes forward', async (t) => {
  const began = monotonicMs();
  t.equal(await within(never, 30), undefined);
  t.ok(monotonicMs() - began >= 29);
  t.equal(await within(Promise.resolve('here'), 10_000), 'here');
  await t.rejects(within(Promise.reject(new Error('told')), 10_000), /told/);
});
