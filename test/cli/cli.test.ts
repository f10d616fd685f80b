/** The command line as a person or a shell script uses it: processes, exit codes, streams. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import { AgentProcess } from '../harness/agent-process.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

type Teardown = { teardown: (work: () => unknown) => void };

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

class Command {
  readonly child: ChildProcess;
  out = '';
  err = '';
  readonly ended: Promise<Ran>;

  constructor(t: Teardown, words: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    this.child = spawn(process.execPath, [resolve('.build/cli.js'), ...words], {
      env: { PATH: process.env['PATH'] ?? '', UV_THREADPOOL_SIZE: '64', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.on('data', (bytes: Buffer) => (this.out += bytes.toString('latin1')));
    this.child.stderr?.on('data', (bytes: Buffer) => (this.err += bytes.toString('utf8')));
    this.ended = new Promise((ended) =>
      this.child.once('close', (code) => ended({ code, out: this.out, err: this.err })),
    );
    t.teardown(() => this.child.kill('SIGKILL'));
  }
}

/** Most tests share an agent, which is no other for it: each has tickets of its own. */
let shared: ReturnType<typeof bench> | undefined;
const sharedBench = (): ReturnType<typeof bench> => (shared ??= bench(t));

/** An agent, and commands that find it as those of its own user do: by its address and its state folder. */
async function bench(t: Teardown): Promise<{
  agent: AgentProcess;
  folder: string;
  start: (...words: string[]) => Command;
  run: (...words: string[]) => Promise<Ran>;
}> {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'volume'));
  const state = join(folder, 'state');
  const agent = await AgentProcess.start(t, { volume: join(folder, 'volume'), state });
  const environment = { LONGSHORE_URL: agent.url, LONGSHORE_STATE: state, DB_PASSWORD: 'never-shown' };
  const start = (...words: string[]): Command => new Command(t, words, environment);
  return { agent, folder, start, run: (...words) => start(...words).ended };
}

t.test(
  'push and run: the script gets its package, its output and exit code come back, nothing is left',
  async (t) => {
    const { folder, run } = await sharedBench();
    const file = join(folder, 'web.1.2.3.zip');
    writeFileSync(file, 'package bytes');
    t.match(await run('push', file, '--id', 'web', '--version', '1.2.3'), {
      code: 0,
      out: '',
      err: /^web 1\.2\.3: pushed \(13 bytes/,
    });
    t.match(await run('push', file, '--id', 'web', '--version', '1.2.3'), {
      code: 0,
      err: /nothing to send/,
    });
    const script = join(folder, 'deploy.sh');
    writeFileSync(
      script,
      'cat "$LONGSHORE_PACKAGES"/web.*; echo " $1 $2 $TARGET $DB_PASSWORD"; printf "\\377\\n"; echo warned >&2; exit 42\n',
    );
    const words = ['--package', 'web@1.2.3', '--var', 'TARGET=production', '--secret-env', 'DB_PASSWORD'];
    const ran = await run('run', ...words, script, '--', '--verbose', 'two words');
    t.equal(ran.out, 'package bytes --verbose two words production ********\n\xff\n');
    t.match(ran.err, /^warned$/m);
    t.match(ran.err, /SCRIPT_FAILED: /);
    t.equal(ran.code, 42);
  },
);

t.test('exit codes: success, signal, deadline', async (t) => {
  const { run } = await sharedBench();
  const [good, killed, late] = await Promise.all([
    run('run', '--body', 'echo "$1"', 'hello'),
    run('run', '--body', 'kill -TERM $$'),
    run('run', '--deadline', '1', '--grace', '0', '--body', 'sleep 60'),
  ]);
  t.match(good, { code: 0, out: 'hello\n' });
  t.equal(killed.code, 143);
  t.match(late, { code: 124, err: /SCRIPT_DEADLINE/ });
});

t.test('status, logs --follow, artifacts and complete find a script by its ticket', async (t) => {
  const { run, start } = await sharedBench();
  const body = 'echo one; sleep 0.5; echo two; echo left > "$LONGSHORE_ARTIFACTS/a.txt"';
  const running = start('run', '--ticket', 't1', '--keep', '--json', '--body', body);
  await eventually(() => running.out.includes('"one"'));
  const followed = await run('logs', '--follow', 't1');
  t.match(followed, { code: 0, out: 'one\ntwo\n' });
  t.match(await running.ended, { code: 0, err: '' });
  for (const line of running.out.trim().split('\n')) t.match(JSON.parse(line), { ticket: 't1' });
  t.match(await run('status', 't1'), { code: 0, out: /^t1 {2}finished {2}SUCCEEDED: / });
  t.match(await run('artifacts', 't1'), { code: 0, out: /\s5 {2}a\.txt\n/ });
  t.match(await run('artifacts', 't1', 'a.txt'), { code: 0, out: 'left\n' });
  t.equal((await run('complete', 't1')).code, 0);
  t.match(await run('status', 't1'), { code: 66, err: /longshore: .* \(TICKET_COMPLETED\)\n$/ });
});

t.test('^C cancels the script, and the command ends with it', async (t) => {
  const { start } = await sharedBench();
  const running = start(
    'run',
    '--body',
    'trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.1; done',
  );
  await eventually(() => running.out.includes('up'));
  running.child.kill('SIGINT');
  t.match(await running.ended, { code: 130, out: 'up\nbye\n', err: /SCRIPT_CANCELLED/ });
});

t.test('a reader that goes away ends the command and not the script', async (t) => {
  const { start, run } = await sharedBench();
  const running = start(
    'run',
    '--ticket',
    'piped',
    '--body',
    'for i in $(seq 1 30); do echo $i; sleep 0.05; done',
  );
  await eventually(() => running.out.includes('1'));
  running.child.stdout?.destroy();
  t.equal((await running.ended).code, 141);
  t.match(await run('logs', '-f', 'piped'), { code: 0, out: /\n30\n$/ });
});

t.test(
  'run goes on through a restart of the agent, without losing or doubling a line (invariant 5)',
  async (t) => {
    const { agent, folder, start } = await bench(t);
    const running = start('run', '--body', 'for i in $(seq 1 60); do echo $i; sleep 0.05; done');
    await eventually(() => running.out.includes('10\n'));
    await agent.kill();
    const flags = ['--listen', new URL(agent.url).host];
    await AgentProcess.start(t, { volume: join(folder, 'volume'), state: join(folder, 'state'), flags });
    const { code, out } = await running.ended;
    t.equal(out, Array.from({ length: 60 }, (_, index) => `${index + 1}\n`).join(''));
    t.equal(code, 0);
  },
);

t.test('what goes wrong is one sentence with its code, and an exit code that says what kind', async (t) => {
  const { agent, folder } = await bench(t);
  const run = (environment: Record<string, string>, ...words: string[]): Promise<Ran> =>
    new Command(t, words, environment).ended;
  const { url, token } = agent;
  const cases: readonly [Promise<Ran>, number, RegExp][] = [
    [
      run({}, 'status', 't1', '--url', 'nonsense', '--token', token),
      64,
      /--url must be http:\/\/HOST:PORT .*REQUEST_INVALID/,
    ],
    [run({}, 'status', 't1', '--url', url, '--token', 'nobody-knows-this'), 77, /UNAUTHENTICATED/],
    [run({}, 'status', 'none', '--url', url, '--token', token), 66, /no script none .*TICKET_UNKNOWN/],
    [
      run({ LONGSHORE_STATE: '/nowhere' }, 'status', 't1', '--url', url),
      64,
      /no token .* in \/nowhere\/tokens: give --token-file/,
    ],
    [
      run({ LONGSHORE_TOKEN: token }, 'run', '--url', url, '--body', 'x', '--package', 'none@1'),
      66,
      /PACKAGE_MISSING/,
    ],
    [run({ LONGSHORE_TOKEN: token }, 'status', 't1', '--url', 'http://127.0.0.1:1'), 69, /AGENT_UNREACHABLE/],
    [run({}, 'run', '--deadline', 'soon'), 64, /a whole number is wanted/],
    [run({}, 'nonsense'), 64, /unknown command 'nonsense'/],
    [run({}, 'serve'), 78, /volume.* is required.*CONFIG_INVALID/],
    [run({}, 'serve', '--volume', folder, '--volum-budget', '1'), 78, /--volum-budget.*CONFIG_INVALID/],
    [
      run({ UV_THREADPOOL_SIZE: '4' }, 'serve', '--volume', folder),
      78,
      /UV_THREADPOOL_SIZE must be at least .* 32, not 4/,
    ],
  ];
  for (const [running, code, says] of cases) {
    const ran = await running;
    t.equal(ran.code, code, String(says));
    t.match(ran.err, says);
    t.notMatch(ran.err, /\n\s+at /, 'no stack');
  }
});

t.test('help names every command and setting, and --version the version', async (t) => {
  const run = (...words: string[]): Promise<Ran> => new Command(t, words).ended;
  const help = await run('--help');
  t.equal(help.code, 0);
  for (const name of ['serve', 'push', 'run', 'logs', 'status', 'cancel', 'artifacts', 'complete'])
    t.match(help.out, `\n  ${name} `);
  t.match((await run('serve', '--help')).out, /--volume-budget .*\n/);
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  t.match(await run('--version'), { code: 0, out: `${version}\n` });
});

t.test(
  'serve makes its token and key, takes a new tokens file while it runs, and stops when told',
  async (t) => {
    const { agent, folder, run } = await bench(t);
    const tokens = join(folder, 'state', 'tokens');
    t.equal(statSync(tokens).mode & 0o777, 0o600);
    t.ok(existsSync(join(folder, 'state', 'key')));
    const old = agent.token;
    writeFileSync(tokens, 'broken line\n');
    await eventually(() => agent.log.some((line) => line.includes('"line":1')));
    const headers = { authorization: `Bearer ${old}` };
    const status = async (): Promise<number> =>
      (await fetch(`${agent.url}/v1/capabilities`, { headers })).status;
    t.equal(await status(), 200, 'a broken file changes nothing');
    writeFileSync(tokens, 'default:another-token-of-many-characters\n');
    await eventually(async () => (await status()) === 401);
    t.match(await run('status', 'none'), { code: 66, err: /TICKET_UNKNOWN/ }, 'the new token is known');
    t.notMatch(agent.log.join('\n'), old, 'no token is ever in the log');
    t.match(await agent.stop(), { code: 0, signal: null });
  },
);
