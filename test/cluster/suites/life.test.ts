/** Scripts as pods of a real cluster, pushed and followed as a server does it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { JournalLine } from '../../../src/protocol/script-status.ts';
import { bytesOf, type AgentProcess } from '../../harness/agent-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { agentGroundFor, runScript, type AgentGround } from './agent-ground.ts';

let ground: AgentGround;
let agent: AgentProcess;

t.before(async () => {
  ground = await agentGroundFor(t);
  const policy = { images: ['docker.io/library/debian:*'], resources: { memory: '256Mi', cpu: '1' } };
  agent = await ground.agent(['--pod-policy', JSON.stringify(policy)]);
});

const texts = (lines: readonly JournalLine[], stream: string): string[] =>
  lines.filter((line) => line.stream === stream).map(({ text }) => text);

/** Waits until the script has written a line. */
async function saysLine(ticket: string, word: string): Promise<void> {
  await eventually(async () => {
    const { json } = await agent.call('GET', `/v1/scripts/${ticket}`);
    const { lines } = json['journal'] as { lines: readonly JournalLine[] };
    return texts(lines, 'stdout').includes(word);
  }, 30_000);
}

t.test('a script runs in its workspace, with packages, files, variables and arguments', async (t) => {
  await agent.push('web', '1.2.3', Buffer.from('the package'));
  const body = [
    'pwd; cat conf/app.json; echo; cat "$LONGSHORE_PACKAGES/web.1.2.3.zip"; echo',
    'echo "$1|$2|$Db_Password|$LONGSHORE_TICKET"; echo left > "$LONGSHORE_ARTIFACTS/report"; echo err >&2; exit 7',
  ].join('\n');
  await agent.call('PUT', '/v1/scripts/whole', {
    language: 'bash',
    body,
    arguments: ['a b', '$(id)'],
    files: [{ path: 'conf/app.json', content: '{}' }],
    packages: [{ id: 'web', version: '1.2.3' }],
    variables: [{ name: 'Db.Password', value: 'hunter2-hunter2', sensitive: true }],
  });
  const { status, lines } = await agent.follow('whole');
  t.match(status.outcome, { code: 'SCRIPT_FAILED', exitCode: 7 });
  t.same(texts(lines, 'stdout'), [
    '/longshore/workspace/files',
    '{}',
    'the package',
    'a b|$(id)|********|whole',
  ]);
  t.same(texts(lines, 'stderr'), ['err']);
  t.match(texts(lines, 'pod').join('\n'), /Scheduled/);
  const artifact = await agent.call('GET', '/v1/scripts/whole/artifacts/report');
  t.equal(artifact.text, 'left\n');
});

t.test('the labels of a script are on its pod', async (t) => {
  const labels = { task: 'ServerTasks-4711', step: 'Deploy the web site' };
  await agent.call('PUT', '/v1/scripts/labelled', { language: 'bash', body: 'true', labels });
  const { status } = await agent.follow('labelled');
  t.match(status.outcome, { code: 'SUCCEEDED' });
  const found = await ground.kubectl(
    'get',
    'pods',
    '-l',
    'longshore.dev/task=ServerTasks-4711',
    '-o',
    'json',
  );
  const { items } = JSON.parse(found) as { items: { metadata: { annotations: Record<string, string> } }[] };
  t.equal(items.length, 1);
  t.same(JSON.parse(items[0]?.metadata.annotations['longshore.dev/labels'] ?? ''), labels);
});

t.test('invariant 11: a sensitive variable is neither in the pod nor on the volume', async (t) => {
  await agent.call('PUT', '/v1/scripts/secret', {
    language: 'bash',
    body: 'sleep 1; echo done',
    variables: [{ name: 'Token', value: 'correct-horse-battery', sensitive: true }],
  });
  await eventually(async () => (await ground.names('pods')).some((name) => name.includes('secret')), 30_000);
  t.notMatch(await ground.kubectl('get', 'pods', '-o', 'yaml'), /correct-horse/);
  await agent.follow('secret');
  for (const path of readdirSync(ground.folder, { recursive: true, encoding: 'utf8', withFileTypes: true })) {
    if (path.isFile()) t.notMatch(readFileSync(join(path.parentPath, path.name), 'latin1'), /correct-horse/);
  }
});

t.test(
  'invariant 12: packages and the workspace are read-only, no token, nothing of other scripts',
  async (t) => {
    const body = [
      'touch "$LONGSHORE_WORKSPACE/x" 2>&1 | sed "s/.*: //"; touch /x 2>&1 | sed "s/.*: //"',
      'ls /var/run/secrets 2>/dev/null; ls /longshore/workspace/..; touch made && echo made; id -u',
    ].join('\n');
    await agent.call('PUT', '/v1/scripts/view', { language: 'bash', body });
    const { lines } = await agent.follow('view');
    t.same(texts(lines, 'stdout'), [
      'Read-only file system',
      'Read-only file system',
      'bin',
      'identity',
      'order',
      'workspace',
      'made',
      '10001',
    ]);
  },
);

t.test('output keeps its bytes: long lines, NUL, carriage returns, split UTF-8, forged frames', async (t) => {
  const body = [
    `printf 'a\\0b\\rc\\n'; printf '\\xe2\\x82'; sleep 0.2; printf '\\xac\\n'; printf '\\xff\\xfe\\n'`,
    `head -c 1000000 /dev/zero | tr '\\0' x; echo; echo 'LS1 1-1 AAAA'; printf 'no end'`,
  ].join('\n');
  await agent.call('PUT', '/v1/scripts/bytes', { language: 'bash', body });
  const { status, lines } = await agent.follow('bytes');
  t.equal(status.outcome?.code, 'SUCCEEDED');
  const expected = Buffer.concat([
    Buffer.from('a\0b\rc\n€\n'),
    Buffer.from([0xff, 0xfe, 0x0a]),
    Buffer.from(`${'x'.repeat(1_000_000)}\nLS1 1-1 AAAA\nno end`),
  ]);
  t.ok(bytesOf(lines, 'stdout').equals(expected));
});

t.test('a foreign image gets its runner from an init container', async (t) => {
  const body = 'test ! -e /usr/bin/python3 && . /etc/os-release && echo "$ID"';
  const status = await runScript(agent, 'foreign', {
    body,
    pod: { image: 'docker.io/library/debian:bookworm-slim' },
  });
  t.match(status.outcome, { code: 'SUCCEEDED' });
});

t.test('what the policy does not allow is refused by name, before anything is staged', async (t) => {
  const refused = await agent.call('PUT', '/v1/scripts/not-allowed', {
    language: 'bash',
    body: 'true',
    pod: { image: 'evil:1' },
  });
  t.match(refused, { status: 422, json: { code: 'POD_NOT_ALLOWED', field: '/pod/image' } });
  t.equal((await agent.call('GET', '/v1/scripts/not-allowed')).status, 404);
});

t.test('cancel ends a running script with its last words, and keeps its journal', async (t) => {
  const body = 'trap "echo bye; exit 0" TERM; echo ready; while :; do sleep 0.1; done';
  await agent.call('PUT', '/v1/scripts/cancelled', { language: 'bash', body });
  await saysLine('cancelled', 'ready');
  await agent.call('POST', '/v1/scripts/cancelled/cancel');
  const { status, lines } = await agent.follow('cancelled');
  t.equal(status.outcome?.code, 'SCRIPT_CANCELLED');
  t.same(texts(lines, 'stdout'), ['ready', 'bye']);
});

t.test('invariant 9: cancelled before its pod runs, a script never runs, and its pod goes', async (t) => {
  await agent.call('PUT', '/v1/scripts/early', { language: 'bash', body: 'echo ran' });
  await agent.call('POST', '/v1/scripts/early/cancel');
  const { status, lines } = await agent.follow('early');
  t.equal(status.outcome?.code, 'SCRIPT_CANCELLED');
  t.same(texts(lines, 'stdout'), []);
  await eventually(async () => !(await ground.names('pods')).some((name) => name.includes('early')), 30_000);
});

t.test('a deadline ends the script', async (t) => {
  const status = await runScript(agent, 'deadline', {
    body: 'sleep 60',
    deadlineSeconds: 1,
    graceSeconds: 1,
  });
  t.equal(status.outcome?.code, 'SCRIPT_DEADLINE');
});

t.test('children that left group and session are ended with the script', async (t) => {
  await agent.call('PUT', '/v1/scripts/children', {
    language: 'bash',
    body: 'setsid sleep 300 & (sleep 300 &) ; exit 0',
    graceSeconds: 1,
  });
  const { status } = await agent.follow('children');
  t.match(status.outcome, { code: 'SUCCEEDED', evidence: { leftBehind: 2 } });
});

t.test('completed scripts leave neither pods nor Secrets nor workspaces', async (t) => {
  for (const ticket of [
    'whole',
    'labelled',
    'secret',
    'view',
    'bytes',
    'foreign',
    'cancelled',
    'early',
    'deadline',
    'children',
  ]) {
    t.equal((await agent.call('DELETE', `/v1/scripts/${ticket}`)).status, 204, ticket);
  }
  await eventually(async () => (await ground.names('pods')).length === 0, 30_000);
  await eventually(async () => (await ground.names('secrets')).length === 0, 60_000);
  t.same(readdirSync(join(ground.folder, 'volume/longshore-v1/work')), []);
});
