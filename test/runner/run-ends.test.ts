/** A runner as a process of its own: every way in which a script, and a runner, can end. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { test, type Test } from 'tap';
import type { EndRecord } from '../../src/protocol/end-record.ts';
import { limits } from '../protocol/made-evidence.ts';
import { hangingModule } from './hung-path.ts';
import {
  decodeFile,
  must,
  processesWith,
  runnerProgram,
  runToEnd,
  stageScript,
  startRunner,
  streamOf,
  until,
  type RunnerProcess,
  type StagedScript,
} from './staged-script.ts';

/** Waits until the script has printed `word`. */
function printed(staged: StagedScript, word: string): (runner: RunnerProcess) => Promise<void> {
  return async ({ stdoutFile }) => {
    const seen = (): boolean =>
      decodeFile(stdoutFile, staged.key).pieces.some(({ bytes }) => String(bytes) === word);
    await until(`the script printed ${word}`, seen);
  };
}

/** Runs a script, and sends TERM to the runner once the script has said `ready`. */
async function stopped(t: Test, script: string, changes: Parameters<typeof stageScript>[2] = {}) {
  const staged = stageScript(t, script, changes);
  let sentAt = 0;
  const meanwhile = async (runner: RunnerProcess): Promise<void> => {
    await printed(staged, 'ready')(runner);
    sentAt = performance.now();
    runner.child.kill('SIGTERM');
  };
  const run = await runToEnd(t, staged, { meanwhile });
  return { ...run, staged, tookMs: performance.now() - sentAt };
}

test('exit codes pass, and a death by signal is told apart from 128 + n', async (t) => {
  const endings: [script: string, wanted: Partial<EndRecord>][] = [
    ...[0, 1, 2, 70, 126, 127, 128, 143, 255].map((exitCode): [string, Partial<EndRecord>] => [
      `exit ${exitCode}`,
      { exitCode, signal: null },
    ]),
    ['exit 137', { exitCode: 137, signal: null }],
    ['kill -9 $$', { exitCode: null, signal: 'SIGKILL' }],
    ['kill -SEGV $$', { exitCode: null, signal: 'SIGSEGV' }],
    ['kill -TERM $$', { exitCode: null, signal: 'SIGTERM' }],
    ['bash -c "kill -9 \\$\\$"; exit $?', { exitCode: 137, signal: null }],
    ['no-such-command', { exitCode: 127, signal: null }],
    ['if then', { exitCode: 2, signal: null }],
    // Node reports a process that a real-time signal ended as exit code 0.
    ['kill -34 $$; kill -RTMAX $$; exit 9', { exitCode: 9, signal: null }],
  ];
  for (const [script, wanted] of endings) {
    t.test(script, async (t) => {
      const { end } = await runToEnd(t, stageScript(t, script));
      t.match(end, { ...wanted, stoppedBy: null, fault: null });
    });
  }
});

test('invariant 9: TERM to the runner', async (t) => {
  t.test('reaches all processes, and the journal up to the end is kept', async (t) => {
    const script =
      'trap "echo bye; exit 7" TERM; setsid sleep 60 >/dev/null 2>&1 & echo ready; sleep 60 & wait';
    const { end, stdout, tookMs } = await stopped(t, script, { graceMs: 20_000 });
    t.match(end, { stoppedBy: 'signal', exitCode: 7, signal: null, leftBehind: 0 });
    t.match(streamOf(stdout, 'stdout').toString(), /^ready\nbye\n$/);
    t.match(String(stdout.pieces.find(({ kind }) => kind === 'note')?.bytes), /TERM to all processes/);
    t.ok(tookMs < 10_000, 'nobody waits for a grace that nobody needs');
  });

  t.test('is followed by KILL after the grace, for whoever ignores it', async (t) => {
    const stubborn = 'trap "" TERM; echo ready; while :; do sleep 0.05; done';
    const { end, tookMs } = await stopped(t, `setsid bash -c 'trap "" TERM; sleep 60' & ${stubborn}`, {
      graceMs: 400,
    });
    t.match(end, { stoppedBy: 'signal', exitCode: null, signal: 'SIGKILL' });
    t.ok(end.leftBehind >= 1);
    t.ok(tookMs >= 400 && tookMs < 8000, `${tookMs} ms`);
  });

  t.test('before anything ran ends it without a run', async (t) => {
    const staged = stageScript(t, 'touch "$LONGSHORE_ARTIFACTS/ran"', {}, { 'files/x': 'x' });
    // A file that is missing is waited for: time to send the signal.
    rmSync(`${staged.places.files}/x`);
    const meanwhile = async (runner: RunnerProcess): Promise<void> => {
      await until('the claim', () => existsSync(staged.places.started));
      runner.child.kill('SIGTERM');
    };
    const { end } = await runToEnd(t, staged, { meanwhile });
    t.match(end, { stoppedBy: 'signal', exitCode: null, signal: null, fault: null, lines: 0 });
    t.notOk(existsSync(`${staged.places.artifacts}/ran`));
  });

  t.test('before the order is whole ends it without a claim', async (t) => {
    const staged = stageScript(t, 'true');
    const runner = startRunner(staged, { input: JSON.stringify(staged.order).slice(0, -1) });
    t.same(await runner.ended, { code: 70, signal: null });
    t.notOk(existsSync(staged.places.started));
    t.match(readFileSync(runner.stdoutFile, 'utf8'), /no whole order/);
  });
});

test('the deadline ends a script as TERM does, and says that it was the deadline', async (t) => {
  const staged = stageScript(t, 'echo ready; sleep 60', { deadlineMs: 300, graceMs: 5000 });
  const { end, stdout } = await runToEnd(t, staged);
  t.match(end, { stoppedBy: 'deadline', exitCode: null, signal: 'SIGTERM' });
  t.ok(Date.parse(end.endedAt) - Date.parse(end.startedAt) >= 300);
  t.match(String(stdout.pieces.find(({ kind }) => kind === 'note')?.bytes), /deadline of 300 ms/);
});

test('what a script leaves behind', async (t) => {
  t.test('may go on for the drain while it holds the output open, and is ended then', async (t) => {
    const staged = stageScript(t, '(sleep 0.3; echo late; sleep 60) & echo early; exit 6', { drainMs: 700 });
    const { end, stdout } = await runToEnd(t, staged);
    t.equal(streamOf(stdout, 'stdout').toString(), 'early\nlate\n');
    t.match(end, { exitCode: 6, signal: null, stoppedBy: null });
    t.ok(end.leftBehind >= 1);
    t.match(String(stdout.pieces.at(-2)?.bytes), /left \d process(es)? behind/);
  });

  t.test('is found without group, session, parent and output, by its cookie', async (t) => {
    const daemon = `(setsid bash -c 'trap "" TERM; exec -a innocent sleep 60' </dev/null >/dev/null 2>&1 &)`;
    const { end } = await runToEnd(t, stageScript(t, `${daemon}; sleep 0.2; echo over`, { graceMs: 300 }));
    t.match(end, { exitCode: 0, leftBehind: 1 });
  });

  t.test('is counted once, however often it forks while it is ended', async (t) => {
    const forking = `(trap "" TERM; while :; do sleep 0.01; done) </dev/null >/dev/null 2>&1 &`;
    const { end } = await runToEnd(t, stageScript(t, `${forking} echo over`, { graceMs: 500 }));
    t.ok(
      end.leftBehind === 1 || end.leftBehind === 2,
      `${end.leftBehind}: the loop, and the sleep of that moment`,
    );
  });

  t.test('is not waited for where it has nothing to do with the output', async (t) => {
    const began = performance.now();
    await runToEnd(t, stageScript(t, 'sleep 60 >/dev/null 2>&1 &', { drainMs: 30_000, graceMs: 20_000 }));
    t.ok(performance.now() - began < 8000);
  });

  t.test('does not keep the end back where nobody can find it', async (t) => {
    const hidden = 'env -i setsid bash -c "echo \\$BASHPID; sleep 20" & sleep 0.3; echo over';
    const { end, stdout } = await runToEnd(t, stageScript(t, hidden, { drainMs: 200 }));
    process.kill(Number(streamOf(stdout, 'stdout').toString().split('\n')[0]), 'SIGKILL');
    t.match(end, { exitCode: 0, leftBehind: 0 });
    t.match(String(stdout.pieces.at(-2)?.bytes), /could not be found holds the output/);
  });
});

test('what keeps a script from running is a fault of its end record', async (t) => {
  const faults: Record<string, (staged: StagedScript) => void> = {
    STAGING_MISMATCH: ({ places }) =>
      writeFileSync(places.script, 'touch "$LONGSHORE_ARTIFACTS/ran"; echo other'),
    STORAGE_REPLACED: ({ order }) => writeFileSync(order.epochFile, 'another'),
    STORAGE_EMPTIED: ({ order }) => rmSync(order.epochFile),
  };
  for (const [code, spoil] of Object.entries(faults)) {
    t.test(code, async (t) => {
      const staged = stageScript(t, 'touch "$LONGSHORE_ARTIFACTS/ran"');
      spoil(staged);
      const { end, volume } = await runToEnd(t, staged);
      t.match(end, { fault: { code }, exitCode: null, signal: null, stoppedBy: null, lines: 0 });
      t.notOk(existsSync(`${staged.places.artifacts}/ran`), 'invariant 2: nothing ran');
      t.same(volume.end, end);
    });
  }

  t.test('INTERPRETER_MISSING', async (t) => {
    const staged = stageScript(t, 'true');
    const { end } = await runToEnd(t, staged, { environment: { PATH: staged.folder } });
    t.match(end, { fault: { code: 'INTERPRETER_MISSING', says: /no bash in / }, exitCode: null });
  });

  t.test('INTERPRETER_MISSING where the kernel refuses the arguments', async (t) => {
    const { end } = await runToEnd(t, stageScript(t, 'true', { arguments: ['x'.repeat(200_000)] }));
    t.match(end, { fault: { code: 'INTERPRETER_MISSING', says: /E2BIG/ }, exitCode: null });
  });

  t.test('RUNNER_FAILED for an error that the runner does not know', async (t) => {
    const staged = stageScript(t, 'echo ready; sleep 60');
    const module = `${staged.folder}/bug.cjs`;
    writeFileSync(module, `process.on('SIGUSR2', () => { throw new TypeError('a bug'); });`);
    const meanwhile = async (runner: RunnerProcess): Promise<void> => {
      await printed(staged, 'ready')(runner);
      runner.child.kill('SIGUSR2');
    };
    const { end } = await runToEnd(t, staged, { node: ['--require', module], meanwhile });
    t.match(end, {
      fault: { code: 'RUNNER_FAILED', says: /TypeError: a bug/ },
      exitCode: null,
      signal: null,
    });
  });
});

test('invariant 3: of two runners with one order exactly one runs, the other is silent', async (t) => {
  for (let round = 0; round < 5; round += 1) {
    const staged = stageScript(t, 'echo run >> "$LONGSHORE_ARTIFACTS/runs"');
    const racers = [startRunner(staged), startRunner(staged), startRunner(staged)];
    const ends = await Promise.all(racers.map(({ ended }) => ended));
    t.same(
      ends,
      racers.map(() => ({ code: 0, signal: null })),
    );
    const sizes = racers.map(({ stdoutFile }) => readFileSync(stdoutFile).length);
    t.equal(sizes.filter((size) => size > 0).length, 1, `bytes on stdout: ${sizes.join(', ')}`);
    t.equal(readFileSync(`${staged.places.artifacts}/runs`, 'utf8'), 'run\n');
  }
});

test('a script that an agent has claimed never starts', async (t) => {
  const staged = stageScript(t, 'touch "$LONGSHORE_ARTIFACTS/ran"');
  writeFileSync(staged.places.started, JSON.stringify({ by: 'agent', reason: 'SCRIPT_CANCELLED', at: '' }));
  const runner = startRunner(staged);
  t.same(await runner.ended, { code: 0, signal: null });
  t.equal(readFileSync(runner.stdoutFile, 'utf8'), '');
  t.notOk(existsSync(`${staged.places.artifacts}/ran`));
});

test('a volume that does not take what the runner writes', async (t) => {
  t.test('costs the second witness, and the end record says how many frames it has not', async (t) => {
    const script = [
      'echo first; until [ -s ../out/journal ]; do sleep 0.01; done',
      'rm ../out/journal; mkdir ../out/journal ../out/result.json; echo on; exit 8',
    ];
    const { end, stdout } = await runToEnd(t, stageScript(t, script.join('\n')));
    t.match(end, { exitCode: 8, fault: null });
    t.equal(end.framesNotOnVolume, stdout.frames.length - 2, 'all but the first and the end');
  });

  t.test('invariant 7: that hangs keeps back neither the script nor the end record', async (t) => {
    const staged = stageScript(t, 'for i in {1..20}; do echo $i; sleep 0.02; done', {
      volumeDeadlineMs: 500,
    });
    const node = ['--require', hangingModule(staged.folder, staged.places.journal)];
    const began = performance.now();
    const { end, stdout, runner } = await runToEnd(t, staged, { node });
    t.match(end, { exitCode: 0, fault: null, lines: 20 });
    t.equal(end.framesNotOnVolume, stdout.frames.length - 1);
    t.same(await runner.ended, { code: null, signal: 'SIGKILL' }, 'exit(3) would wait for the hung thread');
    t.ok(performance.now() - began < 5000);
    t.notOk(existsSync(staged.places.result), 'no other call is made on a volume that hangs');
  });

  t.test('that hangs in the verification is a fault', async (t) => {
    const staged = stageScript(t, 'true', { mount: { ...limits, stallLimitMs: 500 } });
    const node = ['--require', hangingModule(staged.folder, staged.places.manifest)];
    const { end } = await runToEnd(t, staged, { node });
    t.match(end, { fault: { code: 'STORAGE_TIMEOUT' }, exitCode: null });
  });

  t.test('where the claim cannot be made leaves no frame, some last words and exit code 70', async (t) => {
    const staged = stageScript(t, 'touch "$LONGSHORE_ARTIFACTS/ran"');
    rmSync(staged.places.out, { recursive: true });
    symlinkSync('/proc', staged.places.out);
    const runner = startRunner(staged);
    t.same(await runner.ended, { code: 70, signal: null });
    const found = decodeFile(runner.stdoutFile, staged.key);
    t.same(found.frames, []);
    t.match(found.strays.join('\n'), /^longshore runner: STORAGE_[A-Z]+: cannot open /);
    t.same(processesWith(staged.order.cookie), []);
  });

  t.test('and the epoch is gone too, says that the volume was emptied (invariant 6)', async (t) => {
    const staged = stageScript(t, 'true');
    rmSync(staged.order.epochFile);
    rmSync(staged.places.out, { recursive: true });
    symlinkSync('/proc', staged.places.out);
    const runner = startRunner(staged);
    t.same(await runner.ended, { code: 70, signal: null });
    const { strays } = decodeFile(runner.stdoutFile, staged.key);
    t.match(strays.join('\n'), /^longshore runner: STORAGE_EMPTIED: /);
  });
});

test('a runner that is killed leaves processes, and --clear ends them all', async (t) => {
  const staged = stageScript(
    t,
    '(trap "" TERM; setsid sleep 60 </dev/null >/dev/null 2>&1) & echo ready; sleep 60',
  );
  const runner = startRunner(staged);
  await printed(staged, 'ready')(runner);
  runner.child.kill('SIGKILL');
  await runner.ended;
  await until('several processes', () => processesWith(staged.order.cookie).length >= 2);
  const clear = (cookie: string) =>
    spawnSync(process.execPath, [runnerProgram(), '--clear', cookie], { cwd: '/' });
  t.equal(clear('another cookie').status, 0);
  t.ok(processesWith(staged.order.cookie).length >= 2, 'another cookie is none of theirs');
  t.equal(clear(staged.order.cookie).status, 0);
  t.same(processesWith(staged.order.cookie), []);
  t.equal(clear(must<string>('nobody')).status, 0);
});
