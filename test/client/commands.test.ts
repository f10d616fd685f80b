import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import t from 'tap';
import { connect } from '../../src/client/agent-connection.ts';
import { LongshoreClient, type JournalLine } from '../../src/client/client.ts';
import { localFile, localText } from '../../src/client/local-file.ts';
import { pushCommand } from '../../src/client/push-command.ts';
import { exitCodeFor, runCommand, type RunArguments } from '../../src/client/run-command.ts';
import {
  artifactsCommand,
  cancelCommand,
  completeCommand,
  logsCommand,
  statusCommand,
} from '../../src/client/script-commands.ts';
import { say, showJson, showLine, type Terminal } from '../../src/client/terminal.ts';
import { FAILURES, type FailureCode } from '../../src/protocol/failure-table.ts';
import { sha256Of } from '../../src/protocol/digest.ts';
import { madeApp, outcomeOf, TOKEN, type MadeApp } from '../api/made-app.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

interface MadeTerminal extends Terminal {
  readonly out: PassThrough;
  readonly err: PassThrough;
  /** What was written so far. */
  readonly said: { out: string; err: string };
}

function terminal(isInteractive = false): MadeTerminal {
  const said = { out: '', err: '' };
  const [out, err] = [new PassThrough(), new PassThrough()];
  out.on('data', (bytes: Buffer) => (said.out += bytes.toString('latin1')));
  err.on('data', (bytes: Buffer) => (said.err += bytes.toString('utf8')));
  return { out, err, isInteractive, said };
}

const NOTHING: RunArguments = { arguments: [], package: [], file: [], var: [], secret: [], secretEnv: [] };

interface Bench extends MadeApp {
  readonly client: LongshoreClient;
  readonly folder: string;
  readonly screen: MadeTerminal;
  /** Runs a script, whose first ^C is `interrupt()`. */
  readonly run: (given: Partial<RunArguments>) => Promise<number>;
  readonly interrupt: () => void;
}

async function bench(t: { teardown: (work: () => unknown) => void }): Promise<Bench> {
  const made = await madeApp(t);
  const client = new LongshoreClient({ url: await made.listen(), token: TOKEN, retryForMs: 0 });
  t.teardown(() => client.close());
  const screen = terminal();
  let interrupted = (): void => undefined;
  const surroundings = {
    terminal: screen,
    interrupts: (listener: () => void) => void (interrupted = listener),
    environmentValue: (name: string) => (name === 'DB_PASSWORD' ? 'from-the-environment' : undefined),
  };
  const run = (given: Partial<RunArguments>) => runCommand(client, { ...NOTHING, ...given }, surroundings);
  return { ...made, client, folder: temporaryFolder(t), screen, run, interrupt: () => interrupted() };
}

const line = (text: string, more: Partial<JournalLine> = {}): JournalLine => ({
  ...{ id: 's1', seq: 1, at: '', stream: 'stdout', text },
  ...more,
});

t.test(
  'showLine() gives each stream its bytes back as they were, and marks what the agent says',
  async (t) => {
    const { said, ...screen } = terminal();
    await showLine(screen, line('out'));
    await showLine(screen, line('10%\r', { partial: true }));
    await showLine(screen, line('?', { base64: Buffer.from([0xff, 0x00]).toString('base64') }));
    await showLine(screen, line('err', { stream: 'stderr' }));
    await showLine(screen, line('published', { stream: 'agent' }));
    await showJson(screen, { a: 1 });
    t.equal(said.out, 'out\n10%\r\xff\x00\n{"a":1}\n');
    t.equal(said.err, 'err\n[agent] published\n');
    const colours = terminal(true);
    say(colours, 'dimmed');
    t.equal(colours.said.err, '\u001b[2mdimmed\u001b[22m\n');
  },
);

t.test('showLine() waits for a slow reader', async (t) => {
  const out = new PassThrough({ highWaterMark: 10 });
  const showing = showLine({ out, err: out, isInteractive: false }, line('more than ten characters'));
  let shown = false;
  void showing.then(() => (shown = true));
  await new Promise(setImmediate);
  t.equal(shown, false);
  out.resume();
  await showing;
});

t.test("the exit code is the script's own, 128 and the signal, or that of the table", async (t) => {
  t.equal(exitCodeFor(outcomeOf()), 0);
  t.equal(exitCodeFor({ ...outcomeOf('SCRIPT_FAILED'), exitCode: 42 }), 42);
  t.equal(exitCodeFor({ ...outcomeOf('SCRIPT_KILLED'), exitCode: null, signal: 'SIGTERM' }), 143);
  t.equal(exitCodeFor({ ...outcomeOf('SCRIPT_KILLED'), exitCode: null, signal: 'SIGRTMIN+1' }), 137);
  for (const code of Object.keys(FAILURES) as FailureCode[]) {
    if (code.startsWith('SUCC') || code === 'SCRIPT_FAILED' || code === 'SCRIPT_KILLED') continue;
    t.equal(
      exitCodeFor({ ...outcomeOf(code), exitCode: 0 }),
      FAILURES[code].exit,
      `${code}: whatever the script left with`,
    );
  }
});

t.test(
  "run: everything that was named reaches the agent, and the script's exit code comes back",
  async (t) => {
    const { run, scripts, folder, screen, blobs } = await bench(t);
    const [script, secret, small, large] = ['s.sh', 'secret', 'small', 'large'].map((name) =>
      join(folder, name),
    ) as [string, string, string, string];
    writeFileSync(script, 'echo "$1"');
    writeFileSync(secret, 'top-secret\n');
    writeFileSync(small, 'small');
    writeFileSync(large, Buffer.alloc(300_000));
    const running = run({
      script,
      arguments: ['--one'],
      package: ['web@1.2.3'],
      file: [`a/small=${small}`, `large=${large}`],
      var: ['TARGET=a=b'],
      secret: [`API.Key=${secret}`],
      secretEnv: ['DB_PASSWORD', 'Db.Password=DB_PASSWORD'],
      storage: 'copied',
      ...{ isolation: 'web', isolationTimeout: 5, deadline: 60, grace: 1, ticket: 't1', keep: true },
    });
    await eventually(() => scripts.scripts.has('default/t1'));
    scripts.write('t1', 'hello');
    scripts.finish('t1', 'SCRIPT_FAILED');
    Object.assign(scripts.scripts.get('default/t1')?.outcome ?? {}, { exitCode: 7 });
    t.equal(await running, 7);
    const digest = sha256Of(Buffer.alloc(300_000));
    t.same(scripts.scripts.get('default/t1')?.request, {
      language: 'bash',
      body: 'echo "$1"',
      arguments: ['--one'],
      files: [
        { path: 'a/small', content: Buffer.from('small').toString('base64'), encoding: 'base64' },
        { path: 'large', digest: `sha256:${digest}` },
      ],
      packages: [{ id: 'web', version: '1.2.3' }],
      variables: [
        { name: 'TARGET', value: 'a=b' },
        { name: 'API.Key', value: 'top-secret', sensitive: true },
        { name: 'DB_PASSWORD', value: 'from-the-environment', sensitive: true },
        { name: 'Db.Password', value: 'from-the-environment', sensitive: true },
      ],
      storage: 'copied',
      isolation: { level: 'full', name: 'web', timeoutSeconds: 5 },
      deadlineSeconds: 60,
      graceSeconds: 1,
    });
    t.match(await blobs.find(digest), { size: 300_000 });
    t.equal(screen.said.out, 'hello\n');
    t.match(screen.said.err, /started t1\nt1: SCRIPT_FAILED: /);
  },
);

t.test('run: a finished script is completed, and --json is JSON alone', async (t) => {
  const { run, scripts, screen } = await bench(t);
  const running = run({ body: 'echo', ticket: 't1', json: true });
  await eventually(() => scripts.scripts.has('default/t1'));
  scripts.write('t1', 'hello');
  scripts.finish('t1');
  t.equal(await running, 0);
  t.equal(scripts.scripts.size, 0);
  t.equal(screen.said.err, '');
  const news = screen.said.out
    .trim()
    .split('\n')
    .map((text) => JSON.parse(text) as object);
  t.match(news.at(-2), { ticket: 't1', type: 'line', line: { text: 'hello' } });
  t.match(news.at(-1), { ticket: 't1', type: 'outcome', outcome: { code: 'SUCCEEDED' } });
});

t.test('run: the first ^C cancels and waits for the end', async (t) => {
  const { run, scripts, screen, interrupt } = await bench(t);
  const running = run({ body: 'sleep 60', ticket: 't1' });
  await eventually(() => screen.said.err.includes('started t1'));
  interrupt();
  t.equal(await running, FAILURES.SCRIPT_CANCELLED.exit);
  t.match(screen.said.err, /cancelling t1; \^C again leaves it/);
  t.same(
    scripts.calls.filter((name) => name === 'cancel'),
    ['cancel'],
  );
});

t.test('run: the second ^C leaves the script to the agent', async (t) => {
  const { run, scripts, screen, interrupt } = await bench(t);
  const running = run({ body: 'sleep 60', ticket: 't1' });
  await eventually(() => screen.said.err.includes('started t1'));
  // The agent records the cancel, and the script takes its time.
  scripts.cancel = () => Promise.resolve();
  interrupt();
  interrupt();
  t.equal(await running, 130);
  t.match(screen.said.err, /left t1 to the agent; longshore logs --follow t1/);
  t.ok(scripts.scripts.has('default/t1'));
});

t.test('run: what was typed wrong is said in one sentence, before anything starts', async (t) => {
  const { run, scripts, folder } = await bench(t);
  const cases: readonly [Partial<RunArguments>, RegExp][] = [
    [{}, /a script file, or --body TEXT/],
    [{ script: join(folder, 'none') }, /cannot read .*none: ENOENT/],
    [{ body: 'x', package: ['web'] }, /--package takes ID@VERSION, not "web"/],
    [{ body: 'x', file: ['=a'] }, /--file takes PATH=LOCALFILE/],
    [{ body: 'x', file: [`a=${folder}`] }, /cannot read .*EISDIR/],
    [{ body: 'x', var: ['A'] }, /--var takes NAME=VALUE/],
    [{ body: 'x', secret: ['A'] }, /--secret takes NAME=FILE/],
    [{ body: 'x', secretEnv: ['NOPE'] }, /--secret-env NOPE: the environment has no NOPE/],
    [{ body: 'x', secretEnv: ['A=NOPE'] }, /the environment has no NOPE/],
  ];
  for (const [given, says] of cases) await t.rejects(run(given), { code: 'REQUEST_INVALID', message: says });
  t.same(scripts.calls, []);
});

t.test('push: says what was done, and draws a bar only where somebody watches', async (t) => {
  const { client, folder, screen } = await bench(t);
  const file = join(folder, 'web.1.0.tar.gz');
  writeFileSync(file, 'bytes');
  const push = { file, id: 'web', version: '1.0' };
  t.equal(await pushCommand(client, push, screen), 0);
  t.match(screen.said.err, /^web 1\.0: pushed \(5 bytes, sha256:[0-9a-f]{64}\)\n$/);
  t.equal(await pushCommand(client, push, screen), 0);
  t.match(screen.said.err, /nothing to send/);
  await t.rejects(pushCommand(client, { ...push, file: `${file}x` }, screen), { code: 'REQUEST_INVALID' });
  const watched = terminal(true);
  writeFileSync(file, Buffer.alloc(3_000_000, 'y'));
  t.equal(await pushCommand(client, { ...push, version: '2.0' }, watched), 0);
  t.match(watched.said.err, /pushed \(3000000 bytes/);
  await t.rejects(pushCommand(client, { ...push, version: '1.0' }, watched), { code: 'PACKAGE_CONFLICT' });
});

t.test('logs, status, cancel, artifacts and complete say what a script is', async (t) => {
  const { client, scripts, screen } = await bench(t);
  await client.start('t1', { language: 'bash', body: 'echo', labels: { a: 'b' } });
  scripts.write('t1', 'one');
  scripts.write('t1', 'two', 'agent');
  const t1 = { ticket: 't1', json: false };
  t.equal(await logsCommand(client, { ...t1, follow: false }, screen), 0);
  t.equal(await statusCommand(client, t1, screen), 0);
  t.equal(screen.said.out, 'one\nt1  published\n');
  t.equal(await cancelCommand(client, { ticket: 't1', wait: true }, screen), 0);
  t.match(screen.said.err, /\[agent\] two\ncancel recorded; t1 was finished\n/);
  t.equal(await logsCommand(client, { ...t1, follow: true }, screen), FAILURES.SCRIPT_CANCELLED.exit);
  scripts.scripts.get('default/t1')?.artifacts.set('a.txt', Buffer.from('left'));
  const machine = terminal();
  const asJson = { ticket: 't1', json: true };
  await logsCommand(client, { ...asJson, follow: false }, machine);
  await statusCommand(client, asJson, machine);
  await artifactsCommand(client, { ...asJson, name: undefined }, machine);
  t.match(
    machine.said.out
      .trim()
      .split('\n')
      .map((text) => JSON.parse(text) as object),
    [
      { type: 'line', line: { text: 'one' } },
      { type: 'line', line: { text: 'two' } },
      { ticket: 't1', state: 'finished', outcome: { code: 'SCRIPT_CANCELLED' }, labels: { a: 'b' } },
      { name: 'a.txt', size: 4 },
    ],
  );
  const human = terminal();
  await artifactsCommand(client, { ...t1, name: undefined }, human);
  await artifactsCommand(client, { ...t1, name: 'a.txt' }, human);
  t.equal(human.said.out, '           4  a.txt\nleft');
  await statusCommand(client, t1, human);
  t.match(human.said.out, /t1 {2}finished {2}SCRIPT_CANCELLED: /);
  t.equal(await completeCommand(client, 't1', human), 0);
  await t.rejects(statusCommand(client, t1, human), { code: 'TICKET_UNKNOWN' });
});

t.test('localFile() tells size and digest, and opens the bytes again and again', async (t) => {
  const path = join(temporaryFolder(t), 'file');
  writeFileSync(path, 'bytes');
  const file = await localFile(path);
  t.match(file, { path, size: 5, digest: sha256Of('bytes') });
  for (let time = 0; time < 2; time += 1) t.equal((await file.open().toArray()).join(''), 'bytes');
  t.equal(await localText(path), 'bytes');
  await t.rejects(localText(`${path}x`), { code: 'REQUEST_INVALID', cause: { code: 'ENOENT' } });
});

t.test('connect() takes the first token of a tokens file, and says where it found none', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'tokens');
  const url = 'http://127.0.0.1:1';
  await t.rejects(connect({ url }, terminal(), file), {
    code: 'REQUEST_INVALID',
    message: new RegExp(`no token .* in ${file}`),
  });
  writeFileSync(file, '# servers\n\n');
  await t.rejects(connect({ url }, terminal(), file), { code: 'REQUEST_INVALID' });
  writeFileSync(file, '# servers\n\ndeploy:a-token-of-many-characters\n');
  (await connect({ url }, terminal(), file)).close();
  await t.rejects(connect({ url: 'localhost:8460', token: 'x' }, terminal(), file), /--url must be/);
});
