import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseStartedClaim } from '../../src/protocol/run-order.ts';
import { AgentProcess, bytesOf, type AgentOptions } from '../harness/agent-process.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';
import { eventually } from '../harness/eventually.ts';

function places(t: { teardown: (work: () => void) => void }): AgentOptions & { folder: string } {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'volume'));
  return { folder, volume: join(folder, 'volume'), state: join(folder, 'state') };
}

const bash = (body: string, more: object = {}): object => ({ language: 'bash', body, ...more });

t.test(
  'a package and a script go from the server onto the volume, into a runner, and their outcome back',
  async (t) => {
    const agent = await AgentProcess.start(t, places(t));
    const bytes = randomBytes(300_000);
    t.equal((await agent.push('web', '1.2.3', bytes)).status, 201);
    t.equal((await agent.push('web', '1.2.3', bytes)).status, 200);
    const body = `
    echo "argument: $1"; printf 'to stderr\\n' >&2
    cat conf/app.json; sha256sum < "$LONGSHORE_PACKAGES/web.1.2.3.zip"
    echo "secret: $Db_Password"; echo "$LONGSHORE_TICKET"; pwd
    echo left > "$LONGSHORE_ARTIFACTS/left.txt"; exit 3`;
    const started = await agent.call('PUT', '/v1/scripts/t1', {
      ...bash(body),
      arguments: ['$(touch /tmp/never) "quoted" \n two lines'],
      files: [{ path: 'conf/app.json', content: '{"a":1}\n' }],
      packages: [{ id: 'web', version: '1.2.3' }],
      variables: [{ name: 'Db.Password', value: 'hunter2-hunter2', sensitive: true }],
      labels: { project: 'demo' },
    });
    t.equal(started.status, 200, started.text);
    const { status, lines } = await agent.follow('t1');
    t.match(status, {
      state: 'finished',
      outcome: { code: 'SCRIPT_FAILED', exitCode: 3, signal: null, category: 'script' },
    });
    const out = bytesOf(lines, 'stdout').toString();
    t.match(out, 'argument: $(touch /tmp/never) "quoted" \n two lines\n{"a":1}\n');
    t.match(out, 'secret: ********\nt1\n', 'the value never leaves the pod (invariant 11)');
    t.equal(bytesOf(lines, 'stderr').toString(), 'to stderr\n');
    t.equal(new Set(lines.map(({ id }) => id)).size, lines.length);
    const artifacts = await agent.call('GET', '/v1/scripts/t1/artifacts');
    t.match(artifacts.text, /left\.txt/);
    t.equal((await agent.call('GET', '/v1/scripts/t1/artifacts/left.txt')).text, 'left\n');

    t.equal((await agent.call('DELETE', '/v1/scripts/t1')).status, 204);
    t.match(await agent.call('GET', '/v1/scripts/t1'), { status: 410, json: { code: 'TICKET_COMPLETED' } });
    t.match(
      await agent.call('PUT', '/v1/scripts/t1', bash('echo again')),
      { status: 410 },
      'a tombstone answers (invariant 3)',
    );
  },
);

t.test('equal starts at once, a hundred of them, run the script once (invariant 3)', async (t) => {
  const options = places(t);
  const agent = await AgentProcess.start(t, options);
  const counter = join(options.folder, 'counter');
  const body = bash(`echo ran >> ${counter}; exit 0`);
  const answers = await Promise.all(
    Array.from({ length: 100 }, () => agent.call('PUT', '/v1/scripts/t1', body)),
  );
  t.strictSame(new Set(answers.map(({ status }) => status)), new Set([200]));
  await agent.follow('t1');
  t.equal(readFileSync(counter, 'utf8'), 'ran\n');
  t.match(await agent.call('PUT', '/v1/scripts/t1', bash('echo other')), {
    status: 409,
    json: { code: 'TICKET_CONFLICT' },
  });
  t.equal((await agent.call('PUT', '/v1/scripts/t1', body)).status, 200);
});

t.test('what a script writes comes back byte for byte, whatever it is (invariant 5)', async (t) => {
  const agent = await AgentProcess.start(t, places(t));
  const cases: Record<string, { body: string; bytes: Buffer }> = {
    nul: { body: `printf 'a\\0b\\n'`, bytes: Buffer.from('a\0b\n') },
    carriage: {
      body: `printf '10%%\\r20%%\\r'; sleep 0.2; printf '30%%\\n'`,
      bytes: Buffer.from('10%\r20%\r30%\n'),
    },
    utf8: { body: `printf '\\xe2'; sleep 0.2; printf '\\x82\\xac\\n'`, bytes: Buffer.from('€\n') },
    invalid: { body: `printf '\\xff\\xfe\\n\\xc3'`, bytes: Buffer.from([0xff, 0xfe, 0x0a, 0xc3]) },
    empty: { body: `printf '\\n\\n\\nx'`, bytes: Buffer.from('\n\n\nx') },
    frames: {
      body: `echo 'LS1 1-1 AAAA'; echo 'EOS-075CD4F0-8C76-491D-BA76-0879D35E9CFE<<>>0'`,
      bytes: Buffer.from('LS1 1-1 AAAA\nEOS-075CD4F0-8C76-491D-BA76-0879D35E9CFE<<>>0\n'),
    },
    long: {
      body: `head -c ${12 << 20} /dev/zero | tr '\\0' x; echo`,
      bytes: Buffer.concat([Buffer.alloc(12 << 20, 'x'), Buffer.from('\n')]),
    },
  };
  for (const [name, { body, bytes }] of Object.entries(cases)) {
    await agent.call('PUT', `/v1/scripts/${name}`, bash(body));
    const { status, lines } = await agent.follow(name);
    t.equal(status.outcome?.code, 'SUCCEEDED', name);
    t.ok(bytesOf(lines, 'stdout').equals(bytes), name);
  }
});

t.test('the outcome tells signals, exit codes, deadline and cancel apart', async (t) => {
  const agent = await AgentProcess.start(t, places(t));
  const outcomes: Record<string, [object, object]> = {
    killed: [bash('kill -KILL $$'), { code: 'SCRIPT_KILLED', signal: 'SIGKILL', exitCode: null }],
    code137: [bash('exit 137'), { code: 'SCRIPT_FAILED', exitCode: 137, signal: null }],
    deadline: [
      bash('trap "" TERM; sleep 60 & wait; sleep 60', { deadlineSeconds: 1, graceSeconds: 0 }),
      { code: 'SCRIPT_DEADLINE' },
    ],
    background: [
      bash('sleep 600 & setsid sleep 600 & echo done'),
      { code: 'SUCCEEDED', evidence: { leftBehind: 2 } },
    ],
  };
  for (const [ticket, [request, outcome]] of Object.entries(outcomes)) {
    const { status, text } = await agent.call('PUT', `/v1/scripts/${ticket}`, request);
    t.equal(status, 200, text);
    t.match((await agent.follow(ticket)).status.outcome, outcome, ticket);
  }
  await agent.call(
    'PUT',
    '/v1/scripts/cancelled',
    bash('trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.1; done'),
  );
  await eventually(async () => (await agent.call('GET', '/v1/scripts/cancelled')).text.includes('"up"'));
  t.equal((await agent.call('POST', '/v1/scripts/cancelled/cancel')).status, 202);
  const { status, lines } = await agent.follow('cancelled');
  t.match(status.outcome, { code: 'SCRIPT_CANCELLED', exitCode: 0 }, 'whatever its TERM handler left with');
  t.match(bytesOf(lines, 'stdout').toString(), /up\nbye\n/, 'the journal goes on to its end (invariant 9)');
});

t.test(
  'full isolation is real, its wait is in the journal, and a cancel while waiting wins (invariants 9, 10)',
  async (t) => {
    const options = places(t);
    const agent = await AgentProcess.start(t, options);
    const gate = join(options.folder, 'gate');
    const isolation = { level: 'full', name: 'web' };
    await agent.call(
      'PUT',
      '/v1/scripts/first',
      bash(`while [ ! -e ${gate} ]; do sleep 0.05; done; echo first`, { isolation }),
    );
    await eventually(async () => (await agent.call('GET', '/v1/scripts/first')).json['state'] === 'running');
    for (const ticket of ['second', 'third']) {
      await agent.call('PUT', `/v1/scripts/${ticket}`, bash(`touch ${gate}-${ticket}`, { isolation }));
    }
    const refused = bash('echo never', { isolation: { ...isolation, timeoutSeconds: 1 } });
    await agent.call('PUT', '/v1/scripts/impatient', refused);
    t.match((await agent.follow('impatient')).status.outcome, { code: 'ISOLATION_TIMEOUT' });
    t.match(await agent.call('GET', '/v1/scripts/second'), {
      json: { state: 'waiting' },
      text: /first of default is in front/,
    });
    await agent.call('POST', '/v1/scripts/third/cancel');
    t.match((await agent.follow('third')).status.outcome, { code: 'SCRIPT_CANCELLED', startedAt: null });
    t.equal(existsSync(`${gate}-third`), false);
    t.equal(existsSync(`${gate}-second`), false);
    await agent.call('PUT', '/v1/scripts/opener', bash(`touch ${gate}`));
    t.match((await agent.follow('second')).status.outcome, { code: 'SUCCEEDED' });
    t.equal((await agent.follow('first')).status.outcome?.code, 'SUCCEEDED');
  },
);

t.test(
  'a stopped agent leaves its scripts running, and the next one has their whole journal (invariant 5)',
  async (t) => {
    const options = places(t);
    const first = await AgentProcess.start(t, options);
    const body = 'for i in $(seq 1 400); do echo "line $i"; sleep 0.01; done';
    await first.call('PUT', '/v1/scripts/t1', bash(body));
    await eventually(async () => (await first.call('GET', '/v1/scripts/t1')).text.includes('line 20'));
    t.match(await first.stop(), { code: 0 });
    const second = await AgentProcess.start(t, options);
    const { status, lines } = await second.follow('t1');
    t.equal(status.outcome?.code, 'SUCCEEDED');
    t.equal(
      bytesOf(lines, 'stdout').toString(),
      Array.from({ length: 400 }, (_, i) => `line ${i + 1}\n`).join(''),
    );
  },
);

t.test(
  'two agents on one volume: each answers for every ticket, and one takes over from the other',
  async (t) => {
    const options = places(t);
    const [a, b] = [await AgentProcess.start(t, options), await AgentProcess.start(t, options)];
    const counter = join(options.folder, 'counter');
    const request = bash(`echo ran >> ${counter}; sleep 4; echo end`);
    const starts = await Promise.all(
      Array.from({ length: 10 }, (_, i) => (i % 2 ? a : b).call('PUT', '/v1/scripts/t1', request)),
    );
    t.strictSame(new Set(starts.map(({ status }) => status)), new Set([200]));
    await eventually(async () => (await b.call('GET', '/v1/scripts/t1')).json['state'] === 'running');
    await a.kill();
    const { status, lines } = await b.follow('t1');
    t.equal(status.outcome?.code, 'SUCCEEDED');
    t.equal(bytesOf(lines, 'stdout').toString(), 'end\n');
    t.equal(readFileSync(counter, 'utf8'), 'ran\n', 'it ran once (invariant 3)');
  },
);

/** The process that runs the only script of a volume. */
function runnerOf(volume: string): number {
  const work = join(volume, 'longshore-v1', 'work');
  const [name = ''] = readdirSync(work);
  const claim = parseStartedClaim(readFileSync(join(work, name, 'out', 'started'), 'utf8'));
  if (claim?.by !== 'runner') throw new Error(`${name} is not run by a runner`);
  return claim.pid;
}

t.test(
  'a runner that somebody else tells to stop ends its script, and that is no success either',
  async (t) => {
    const options = places(t);
    const agent = await AgentProcess.start(t, options);
    await agent.call(
      'PUT',
      '/v1/scripts/t1',
      bash('trap "exit 0" TERM; echo up; while :; do sleep 0.1; done'),
    );
    await eventually(async () => (await agent.call('GET', '/v1/scripts/t1')).text.includes('"up"'));
    process.kill(runnerOf(options.volume), 'SIGTERM');
    t.match((await agent.follow('t1')).status.outcome, { code: 'RUNNER_STOPPED', exitCode: 0 });
  },
);

t.test(
  'a runner that is killed is never a success, and nothing of its script is left (invariant 4)',
  async (t) => {
    const options = places(t);
    const agent = await AgentProcess.start(t, options);
    const alive = join(options.folder, 'alive');
    await agent.call('PUT', '/v1/scripts/t1', bash(`echo up; while :; do date > ${alive}; sleep 0.05; done`));
    await eventually(() => existsSync(alive));
    process.kill(runnerOf(options.volume), 'SIGKILL');
    const { status } = await agent.follow('t1');
    t.match(status.outcome, { code: 'RUNNER_LOST', exitCode: null });
    const last = readFileSync(alive, 'utf8');
    await agent.call('PUT', '/v1/scripts/later', bash('sleep 0.3'));
    await agent.follow('later');
    t.equal(readFileSync(alive, 'utf8'), last, 'its loop has ended');
  },
);

t.test(
  'an agent that cannot listen says so in a sentence and ends, and nothing of it goes on running',
  async (t) => {
    const options = places(t);
    const first = await AgentProcess.start(t, options);
    const taken = new URL(first.url).host;
    const second = new AgentProcess({ ...options, flags: ['--listen', taken] });
    await t.rejects(second.ready(), { message: /listen cannot be .*EADDRINUSE.*CONFIG_INVALID/s });
    t.match(await second.ended, { code: 78 });
  },
);
