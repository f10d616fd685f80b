/** A runner as a process of its own: what a script writes, and where it comes out. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { test } from 'tap';
import { parseEndRecord } from '../../src/protocol/end-record.ts';
import { parseStartedClaim } from '../../src/protocol/run-order.ts';
import { endInResult } from '../../src/scripts/end-search.ts';
import {
  decode,
  decodeFile,
  must,
  runnerProgram,
  runToEnd,
  stageScript,
  startRunner,
  streamOf,
  until,
} from './staged-script.ts';

const LINE = `${'x'.repeat(79)}\n`;

test('a script that says something on both streams', async (t) => {
  const staged = stageScript(t, 'echo out 1\necho err 1 >&2\nsleep 0.1\necho out 2\nprintf "err 2" >&2\n');
  const { end, stdout, volume, runner } = await runToEnd(t, staged);
  const shown = stdout.pieces.slice(0, -1).map(({ kind, bytes, partial }) => [kind, String(bytes), partial]);
  t.same(
    shown.slice(0, 2).toSorted(),
    [
      ['stderr', 'err 1', false],
      ['stdout', 'out 1', false],
    ],
    'told apart',
  );
  t.same(
    shown.slice(2).toSorted(),
    [
      ['stderr', 'err 2', true],
      ['stdout', 'out 2', false],
    ],
    'the end without a line end',
  );
  t.match(end, {
    exitCode: 0,
    signal: null,
    stoppedBy: null,
    fault: null,
    leftBehind: 0,
    framesNotOnVolume: 0,
  });
  t.match(end, { lines: 4, stdoutBytes: 12, stderrBytes: 11, linesOverLimit: 0 });
  t.same(volume.frames, stdout.frames, 'both witnesses have the same frames, the end frame too');
  t.same(stdout.strays, []);
  t.same(await runner.ended, { code: 0, signal: null });

  const result = readFileSync(staged.places.result);
  t.same(endInResult(result, staged.key)?.record, end, 'result.json has the authentic record');
  t.same((JSON.parse(String(result)) as { outcome: unknown }).outcome, end, 'and a copy in clear');
  const claim = must(parseStartedClaim(readFileSync(staged.places.started, 'utf8')));
  t.match(claim, { by: 'runner', pid: runner.child.pid, stdout: runner.stdoutFile });
});

test('the first line comes at once, and part of a line after a second', async (t) => {
  const staged = stageScript(
    t,
    'echo first; printf "Password: "; read -r line < <(sleep 30); echo "$line"\n',
  );
  const runner = startRunner(staged);
  const lines = (): string[] =>
    decodeFile(runner.stdoutFile, staged.key).pieces.map(({ bytes }) => String(bytes));
  await until('the first line', () => lines()[0] === 'first');
  t.same(lines(), ['first']);
  await until('the prompt', () => lines().includes('Password: '));
  runner.child.kill('SIGTERM');
  await runner.ended;
});

test('invariant 5: 20 MiB on each stream come out byte for byte, on both witnesses', async (t) => {
  // Numbered lines, so that one that is lost, doubled or out of order shows.
  const numbered = (step: number): string => `seq -f "%079.0f" ${step} ${step} ${step * 262_144}`;
  const staged = stageScript(t, `${numbered(1)} & ${numbered(3)} >&2\nwait\n`, { volumeDeadlineMs: 60_000 });
  const { end, stdout, volume } = await runToEnd(t, staged);
  const wanted = (step: number): Buffer => {
    const line = (index: number): string => `${String(step * (index + 1)).padStart(79, '0')}\n`;
    return Buffer.from(Array.from({ length: 262_144 }, (_, index) => line(index)).join(''));
  };
  t.equal(end.stdoutBytes, 20 * 1024 * 1024);
  t.equal(end.stderrBytes, 20 * 1024 * 1024);
  t.equal(end.framesNotOnVolume, 0);
  for (const [name, witness] of Object.entries({ stdout, volume })) {
    t.ok(streamOf(witness, 'stdout').equals(wanted(1)), `stdout on ${name}`);
    t.ok(streamOf(witness, 'stderr').equals(wanted(3)), `stderr on ${name}`);
  }
});

test('invariant 5: whatever bytes a script writes', async (t) => {
  const outputs: Record<string, [script: string, bytes: Buffer]> = {
    'a line of 12 MiB': [
      'head -c 12582912 /dev/zero | tr "\\0" a; echo',
      Buffer.from(`${'a'.repeat(12_582_912)}\n`),
    ],
    'NUL and carriage returns': [
      'printf "10%%\\r20%%\\r\\nA\\0B\\0\\n"',
      Buffer.from('10%\r20%\r\nA\0B\0\n'),
    ],
    'a character in two writes': ['printf "\\xe2\\x82"; sleep 0.2; printf "\\xac\\n"', Buffer.from('€\n')],
    'bytes that are no UTF-8': [
      'printf "\\xff\\xfe\\x80 \\xc3\\n\\xe2\\x82"',
      Buffer.from([255, 254, 128, 32, 195, 10, 226, 130]),
    ],
    'empty lines': ['echo; echo; echo x; echo', Buffer.from('\n\nx\n\n')],
    'nothing at all': ['true', Buffer.alloc(0)],
  };
  for (const [what, [script, bytes]] of Object.entries(outputs)) {
    t.test(what, async (t) => {
      const { stdout, volume, end } = await runToEnd(t, stageScript(t, script));
      t.ok(streamOf(stdout, 'stdout').equals(bytes));
      t.ok(streamOf(volume, 'stdout').equals(bytes));
      t.equal(end.stdoutBytes, bytes.length);
      t.ok(stdout.pieces.every((piece) => piece.bytes.length <= 64 * 1024));
    });
  }
});

test('a script that prints the frames of another run shows them as lines of its own', async (t) => {
  const other = stageScript(t, 'echo secret of another; exit 0');
  const first = await runToEnd(t, other);
  const theirs = readFileSync(first.runner.stdoutFile, 'latin1');
  const staged = stageScript(t, 'cat frames; exit 3', {}, { 'files/frames': theirs });
  const { end, stdout } = await runToEnd(t, staged);
  t.equal(end.exitCode, 3, 'invariant 4: an end record of another run is no end');
  t.equal(streamOf(stdout, 'stdout').toString('latin1'), theirs);
  t.equal(decode(Buffer.from(theirs), staged.key).frames.length, 0);
});

test('a script finds its place, its arguments and its variables', async (t) => {
  const script = [
    'pwd; cat conf/app.json; printf "%s\\n" "$0" "$#" "$@"',
    'printf "%s\\n" "$Db_Password" "$_1st" "$LONGSHORE_TICKET" "$LONGSHORE_WORKSPACE" "$LONGSHORE_PACKAGES"',
    'printf "%s\\n" "$LONGSHORE_ARTIFACTS" "${NODE_ENV-none}" "${LONGSHORE_TOKEN-none}${LONGSHORE_PRELUDE-}" "${UV_THREADPOOL_SIZE-none}" "$KEPT"',
    'echo through /dev/stdout > /dev/stdout; echo through /dev/stderr > /dev/stderr',
    'echo artifact > "$LONGSHORE_ARTIFACTS/a"; ls /proc/self/fd | grep -x "[0-9]\\{1,2\\}" | tr "\\n" " " >&2',
  ].join('\n');
  const staged = stageScript(
    t,
    script,
    {
      arguments: ['never through a shell', '$(id)', '', '*'],
      variables: [
        { name: 'Db.Password', value: 'two\nlines', sensitive: false },
        { name: '1st', value: 'one', sensitive: false },
        { name: 'PATH', value: `/nowhere:${process.env['PATH'] ?? ''}`, sensitive: false },
      ],
    },
    { 'files/conf/app.json': '{}\n' },
  );
  const environment = {
    ...process.env,
    NODE_ENV: 'x',
    LONGSHORE_TOKEN: 'x',
    UV_THREADPOOL_SIZE: '8',
    KEPT: 'kept',
  };
  const { stdout, end } = await runToEnd(t, staged, { environment });
  const { places, order } = staged;
  t.same(streamOf(stdout, 'stdout').toString().split('\n'), [
    ...[places.files, '{}', places.script, '4', 'never through a shell', '$(id)', '', '*'],
    ...['two', 'lines', 'one', order.ticket, places.root, places.packages, places.artifacts],
    ...['none', 'none', 'none', 'kept', 'through /dev/stdout', ''],
  ]);
  t.match(streamOf(stdout, 'stderr').toString(), /^through \/dev\/stderr\n0 1 2 3 /);
  t.equal(end.exitCode, 0);
  t.ok(existsSync(`${places.artifacts}/a`));
});

test('invariant 11: sensitive values are on neither witness, split over writes or not', async (t) => {
  const secret = 'correct horse battery staple';
  const staged = stageScript(
    t,
    'echo "a $SECRET b"; printf "%s" "${SECRET:0:9}"; sleep 0.1; printf "%s\\n" "${SECRET:9}" >&2; printf "%s" "${SECRET:0:9}"; sleep 0.1; printf "%s\\n" "${SECRET:9}"',
    { variables: [{ name: 'SECRET', value: secret, sensitive: true }] },
  );
  const { stdout, volume, end } = await runToEnd(t, staged);
  for (const witness of [stdout, volume]) {
    t.equal(streamOf(witness, 'stdout').toString(), `a ******** b\n${secret.slice(0, 9)}********\n`);
  }
  t.equal(
    end.stdoutBytes,
    5 + secret.length + 9 + secret.length + 1,
    'bytes are counted as they were written',
  );
  t.notOk(readFileSync(staged.places.journal, 'latin1').includes('horse'), 'nothing in clear on the volume');
});

test('invariant 13: a journal that is full is said to be full, and the script goes on', async (t) => {
  const staged = stageScript(t, `for i in {1..2000}; do echo ${'y'.repeat(79)}; done; exit 4`, {
    journalMaxBytes: 20_000,
  });
  const { end, stdout, runner } = await runToEnd(t, staged);
  t.equal(end.exitCode, 4);
  t.equal(end.stdoutBytes, 160_000);
  const kept = stdout.pieces.filter(({ kind }) => kind === 'stdout').length;
  t.equal(kept + end.linesOverLimit, 2000);
  t.ok(statSync(runner.stdoutFile).size < 22_000);
  t.match(String(stdout.pieces.find(({ kind }) => kind === 'note')?.bytes), /limit of 20000 bytes/);
});

test('a runner whose stdout is a pipe', async (t) => {
  const start = (staged: ReturnType<typeof stageScript>) => {
    const child = spawn(process.execPath, ['-e', PIPED, runnerProgram()], {
      cwd: '/',
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    child.stdin.end(JSON.stringify(staged.order));
    return child;
  };
  // A real pipe, as in a pod: what Node makes for a child is a socket.
  const PIPED = `
    const { spawn } = require('node:child_process');
    const shell = 'exec 3>&1; { "$0" "$1" 3>&-; echo "code $?" >&2; } | cat >&3';
    spawn('bash', ['-c', shell, process.execPath, process.argv[1]], { stdio: 'inherit' });`;

  t.test('makes the script wait for a slow reader, in bounded memory, and loses nothing', async (t) => {
    const staged = stageScript(t, `yes ${'x'.repeat(79)} | head -c 62914560`, { journalMaxBytes: 1e12 });
    const child = start(staged);
    child.stdout.pause();
    const runner = await until('the claim', () => {
      const text = existsSync(staged.places.started) ? readFileSync(staged.places.started, 'utf8') : '';
      const claim = parseStartedClaim(text);
      return claim?.by === 'runner' && claim;
    });
    t.equal(runner.stdout, null, 'a pipe has no path');
    // Nobody reads: the script comes to a stop when pipe and buffers are full.
    const read = (): number =>
      Number(/^rchar: (\d+)/m.exec(readFileSync(`/proc/${runner.pid}/io`, 'latin1'))?.[1]);
    let before = -1;
    await until('the runner waits', () => {
      const now = read();
      const same = now === before && now > 300_000;
      before = now;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150);
      return same;
    });
    t.ok(before < 30_000_000, `read ${before} bytes`);
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk)).resume();
    await new Promise((closed) => child.once('close', closed));
    const found = decode(Buffer.concat(chunks), staged.key);
    t.equal(found.end?.exitCode, 0);
    t.equal(
      createHash('sha256').update(streamOf(found, 'stdout')).digest('hex'),
      createHash('sha256').update(LINE.repeat(786_432)).digest('hex'),
    );
  });

  t.test(
    'goes on when the reader is gone: the volume has the journal, and the script never notices',
    async (t) => {
      const staged = stageScript(
        t,
        'echo before; sleep 0.5; echo after; touch "$LONGSHORE_ARTIFACTS/done"; exit 5',
      );
      const child = start(staged);
      child.stdout.once('data', () => child.stdout.destroy());
      const end = await until('the end record on the volume', () => {
        return existsSync(staged.places.result) && decodeFile(staged.places.journal, staged.key).end;
      });
      t.equal(end.exitCode, 5);
      t.ok(existsSync(`${staged.places.artifacts}/done`));
      t.not(parseEndRecord(JSON.stringify(end)), undefined);
      await new Promise((closed) =>
        child.exitCode === null ? child.once('close', closed) : closed(undefined),
      );
    },
  );
});
