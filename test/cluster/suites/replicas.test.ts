/** Two agents, deployed and used by the guide's own files and commands, with the rights that it gives and no others. */
import t from 'tap';
import { PERMISSIONS } from '../../../src/executors/kubernetes/permissions.ts';
import { eventually } from '../../harness/eventually.ts';
import { AgentDeployment } from './agent-deployment.ts';
import { groundFor, type Ground } from './ground.ts';

let ground: Ground;
let agents: AgentDeployment;

t.before(async () => {
  ground = await groundFor(t, 'longshore');
  agents = await AgentDeployment.start(t, ground);
});

const bash = (body: string, more: object = {}): object => ({ language: 'bash', body, ...more });

async function pair(): Promise<[string, string]> {
  let found: string[] = [];
  await eventually(async () => (found = await agents.addresses()).length === 2, 90_000);
  const [one = '', other = ''] = found;
  return [one, other];
}

t.test('the service account has every right that the page names, and kubectl agrees', async (t) => {
  const as = `system:serviceaccount:${ground.namespace}:longshore`;
  const canI = async (verb: string, resource: string): Promise<string> => {
    const [plural = '', part] = resource.split('/');
    const subresource = part === undefined ? [] : [`--subresource=${part}`];
    const asked = ['auth', 'can-i', verb, plural, ...subresource, '--as', as];
    // kubectl leaves with 1 where the answer is no.
    return (await ground.kubectl(...asked).catch(() => 'no')).trim();
  };
  for (const { verb, resource, group } of PERMISSIONS) {
    t.equal(await canI(verb, group === '' ? resource : `${resource}.${group}`), 'yes', `${verb} ${resource}`);
  }
  for (const [verb = '', resource = ''] of [
    ['list', 'secrets'],
    ['get', 'secrets'],
    ['delete', 'secrets'],
    ['create', 'pods/exec'],
    ['create', 'pods/attach'],
    ['update', 'pods'],
    ['list', 'nodes'],
  ]) {
    t.equal(await canI(verb, resource), 'no', `${verb} ${resource}`);
  }
});

t.test('the first script of the guide prints the name of its pod', async (t) => {
  t.match(await agents.firstScript(t), /^ls-/m);
});

t.test('any agent answers for any ticket, and a ticket that both got at once runs once', async (t) => {
  const [one, other] = await pair();
  const script = bash('echo run >> "$LONGSHORE_ARTIFACTS/runs"; echo hello');
  const starts = [one, other, one, other].map((address) =>
    agents.call(address, 'PUT', '/v1/scripts/twin', script),
  );
  t.same(
    (await Promise.all(starts)).map(({ status }) => status),
    [200, 200, 200, 200],
  );
  await agents.finished('twin');
  for (const address of [one, other]) {
    await eventually(async () => (await agents.status(address, 'twin')).outcome !== null, 30_000);
    const { outcome, journal } = await agents.status(address, 'twin');
    t.equal(outcome?.code, 'SUCCEEDED');
    t.same(
      journal.lines.filter(({ stream }) => stream === 'stdout').map(({ text }) => text),
      ['hello'],
    );
  }
  const { json } = await agents.call(other, 'GET', '/v1/scripts/twin/artifacts');
  t.match(json, { artifacts: [{ name: 'runs', size: 4 }] }, 'it ran once');
});

t.test('invariant 10: full isolation holds across agents', async (t) => {
  const [one, other] = await pair();
  const isolation = { level: 'full', name: 'db' };
  const body = 'echo start $(date +%s%N); sleep 2; echo end $(date +%s%N)';
  await agents.call(one, 'PUT', '/v1/scripts/first', bash(body, { isolation }));
  await agents.call(other, 'PUT', '/v1/scripts/second', bash(body, { isolation }));
  const spans: number[][] = [];
  for (const ticket of ['first', 'second']) {
    const { outcome, journal } = await agents.finished(ticket);
    t.equal(outcome?.code, 'SUCCEEDED');
    const times = journal.lines
      .filter(({ stream }) => stream === 'stdout')
      .map(({ text }) => text.split(' ')[1]);
    spans.push(times.map(Number));
  }
  spans.sort(([a = 0], [b = 0]) => a - b);
  t.ok((spans[0]?.[1] ?? Infinity) <= (spans[1]?.[0] ?? 0), 'one after the other');
});

t.test(
  'script pods are owned by the Deployment, and script pods of both agents carry one group',
  async (t) => {
    const [one] = await pair();
    await agents.call(one, 'PUT', '/v1/scripts/owned', bash('sleep 3'));
    let pods = '';
    const path =
      'jsonpath={range .items[*]}{.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name} {end}';
    await eventually(async () => {
      pods = await ground.kubectl('get', 'pods', '-l', 'app.kubernetes.io/component=script', '-o', path);
      return pods !== '';
    }, 30_000);
    t.same([...new Set(pods.trim().split(' '))], ['Deployment/longshore']);
    await agents.finished('owned');
  },
);

t.test('all agents killed while scripts run: they go on, and new agents tell how they ended', async (t) => {
  const [one] = await pair();
  const body = 'for i in $(seq 1 200); do echo "line $i"; sleep 0.05; done; exit 5';
  await agents.call(one, 'PUT', '/v1/scripts/survivor', bash(body));
  await eventually(async () => (await agents.status(one, 'survivor')).state === 'running', 30_000);
  await agents.killAll();
  const { outcome, journal } = await agents.finished('survivor', 120_000);
  t.match(outcome, { code: 'SCRIPT_FAILED', exitCode: 5 });
  const lines = journal.lines.filter(({ stream }) => stream === 'stdout').map(({ text }) => text);
  t.same(
    lines,
    Array.from({ length: 200 }, (_, index) => `line ${index + 1}`),
  );
});

t.test('with a missing right, the agent does not start, and names it', async (t) => {
  await ground.kubectl(
    'patch',
    'role',
    'longshore',
    '--type=json',
    '-p',
    '[{"op":"remove","path":"/rules/0"}]',
  );
  await agents.killAll();
  let said = '';
  await eventually(async () => {
    const logs = await ground
      .kubectl('logs', '-l', 'app=longshore', '--tail=20', '--prefix=false')
      .catch(() => '');
    const previous = await ground
      .kubectl('logs', '-l', 'app=longshore', '--tail=20', '--previous')
      .catch(() => '');
    said = logs + previous;
    return said.includes('lacks rights');
  }, 90_000);
  t.match(said, /lacks rights in .*: create pods, list pods, watch pods, patch pods, delete pods/);
});
