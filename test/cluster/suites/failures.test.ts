/** Scripts that a real cluster ends while they run, through a real agent. */
import t from 'tap';
import type { AgentProcess } from '../../harness/agent-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { agentGroundFor, type AgentGround } from './agent-ground.ts';
import {
  complete,
  endOf,
  endsAs,
  podOf,
  saysLine,
  start,
  strangerPod,
  textsOf,
  type Expected,
} from './provoked.ts';

/** A piece of a node that nobody else asks for. */
const MOORING = 'test.longshore.dev/mooring';
const STAYS = 'trap "echo bye; exit 0" TERM; echo ready; while :; do sleep 0.1; done';
/** Does `what` to every process of the runner, which is of the same user. */
const toRunner = (what: string): string =>
  `for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline | grep -q '[r]unner.cjs'; then ${what}; fi; done`;
const limits = (most: object): object => ({ pod: { resources: { limits: most } } });
const SMALL = limits({ memory: '192Mi' });

let ground: AgentGround;
let agent: AgentProcess;

t.before(async () => {
  ground = await agentGroundFor(t);
  agent = await ground.agent(['--pod-policy', JSON.stringify(policy)]);
});

const policy = { resources: { memory: '1Gi', 'ephemeral-storage': '1Gi', [MOORING]: '1' } };
const oom = (says: RegExp): Expected => ({
  code: 'CLUSTER_OOM',
  says,
  raw: /"oomKills":1|"reason":"OOMKilled"/,
  told: /^Scheduled: /m,
});

t.test("the kernel kills the script's own process for memory: CLUSTER_OOM", async (t) => {
  await start(agent, 'oom', { body: 'echo ready; exec tail /dev/zero', ...SMALL });
  const { outcome, lines } = await endsAs(t, agent, 'oom', oom(/more memory than it may; the kernel killed/));
  t.match(outcome, { exitCode: null, signal: 'SIGKILL' });
  t.same(textsOf(lines, 'stdout'), ['ready']);
});

t.test('the kernel kills a child and the script fails of it: SCRIPT_FAILED, which mentions it', async (t) => {
  await start(agent, 'oom-child', { body: 'tail /dev/zero; echo "child $?"; exit 3', ...SMALL });
  const { outcome, lines } = await endOf(agent, 'oom-child');
  t.match(outcome, { code: 'SCRIPT_FAILED', exitCode: 3, evidence: { oomKills: 1 } });
  t.match(outcome.says, /exit code 3; the kernel killed a process for want of memory while it ran$/);
  t.same(textsOf(lines, 'stdout'), ['child 137']);
});

t.test('the kernel kills a child that the script can do without: SUCCEEDED, which mentions it', async (t) => {
  await start(agent, 'oom-spare', { body: 'tail /dev/zero; exit 0', ...SMALL });
  const { outcome } = await endOf(agent, 'oom-spare');
  t.match(outcome, { code: 'SUCCEEDED', exitCode: 0, evidence: { oomKills: 1 } });
  t.match(outcome.says, /; the kernel killed a process for want of memory while it ran$/);
});

t.test('the kernel kills the runner for memory, and with it the container: CLUSTER_OOM', async (t) => {
  // Each process is smaller than the runner, which is what the kernel takes then.
  const piece = `python3 -c "import time; x = b'x' * 20_000_000; time.sleep(120)"`;
  const body = `echo ready; sleep 1; for i in $(seq 12); do ${piece} & sleep 0.3; done; wait; echo survived`;
  await start(agent, 'oom-runner', { body, ...SMALL });
  const says = /^the kernel killed the container of the script for want of memory; its limit is 192Mi$/;
  const { outcome, lines } = await endsAs(t, agent, 'oom-runner', oom(says));
  t.equal(textsOf(lines, 'stdout')[0], 'ready');
  t.match(outcome.evidence, { pod: { containers: [{ reason: 'OOMKilled', exitCode: 137 }] } });
});

t.test('a drain of the node: CLUSTER_EVICTED, with the last words of the script', async (t) => {
  await start(agent, 'drained', { body: STAYS });
  await saysLine(agent, 'drained', 'ready');
  const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: podOf('drained') } };
  const path = `/api/v1/namespaces/${ground.namespace}/pods/${podOf('drained')}/eviction`;
  await ground.cluster.kubectl(['create', '--raw', path, '-f', '-'], JSON.stringify(eviction));
  const { lines } = await endsAs(t, agent, 'drained', {
    code: 'CLUSTER_EVICTED',
    says: /^somebody evicted the pod from node node-[ab] through the API, as a drain of the node does: ./,
    raw: /"reason":"EvictionByEvictionAPI"/,
    told: /^somebody evicted the pod/m,
  });
  t.same(textsOf(lines, 'stdout'), ['ready', 'bye']);
});

t.test('more on the local disk than its limit: CLUSTER_EVICTED', async (t) => {
  const body = 'echo ready; head -c 31457280 /dev/zero > /tmp/x; while :; do sleep 0.1; done';
  await start(agent, 'greedy', { body, ...limits({ 'ephemeral-storage': '10Mi' }) });
  await endsAs(t, agent, 'greedy', {
    code: 'CLUSTER_EVICTED',
    says: /evicted the pod: .*ephemeral.*10Mi$/,
    raw: /"reason":"Evicted"/,
    told: /^Evicted: /m,
    withinMs: 240_000,
  });
});

t.test('a pod of higher priority takes the room: CLUSTER_PREEMPTED', async (t) => {
  const { cluster, namespace } = ground;
  const priorityClassName = `high-${namespace}`;
  const priority = { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', value: 1000 };
  await cluster.apply({ ...priority, metadata: { name: priorityClassName } });
  t.teardown(() => cluster.kubectl(['delete', 'priorityclass', priorityClassName]));
  await offerMooring('add');
  t.teardown(() => offerMooring('remove'));
  await start(agent, 'preempted', { body: STAYS, ...limits({ [MOORING]: '1' }) });
  await saysLine(agent, 'preempted', 'ready');
  const resources = { limits: { [MOORING]: '1' } };
  await cluster.apply(strangerPod(namespace, 'high', { resources, spec: { priorityClassName } }));
  const { lines } = await endsAs(t, agent, 'preempted', {
    code: 'CLUSTER_PREEMPTED',
    says: /^the scheduler took the pod away for one of higher priority: ./,
    raw: /"reason":"PreemptionByScheduler"/,
    told: /^Preempted: /m,
  });
  t.same(textsOf(lines, 'stdout'), ['ready', 'bye']);
  await ground.kubectl('delete', 'pod', 'high', '--force', '--grace-period=0');
});

t.test('somebody deletes the pod: CLUSTER_POD_DELETED, although its script ends with 0', async (t) => {
  await start(agent, 'deleted', { body: STAYS });
  await saysLine(agent, 'deleted', 'ready');
  await ground.kubectl('delete', 'pod', podOf('deleted'), '--wait=false');
  const { outcome, lines } = await endsAs(t, agent, 'deleted', {
    code: 'CLUSTER_POD_DELETED',
    says: /^somebody deleted the pod on node node-[ab]$/,
    raw: new RegExp(`"pod":"${podOf('deleted')}"`),
    told: /^somebody deleted the pod/m,
  });
  t.equal(outcome.exitCode, 0, 'what its handler left with is told, and is no success');
  t.same(textsOf(lines, 'stdout'), ['ready', 'bye']);
});

t.test('somebody deletes the pod by force: CLUSTER_POD_DELETED', async (t) => {
  await start(agent, 'torn', { body: STAYS });
  await saysLine(agent, 'torn', 'ready');
  await ground.kubectl('delete', 'pod', podOf('torn'), '--force', '--grace-period=0');
  const { lines } = await endsAs(t, agent, 'torn', {
    code: 'CLUSTER_POD_DELETED',
    says: /^somebody deleted the pod on node node-[ab]$|^the pod on node node-[ab] is gone, and nothing/,
    raw: new RegExp(`"pod":"${podOf('torn')}"`),
    told: /^Scheduled: /m,
  });
  t.equal(textsOf(lines, 'stdout')[0], 'ready');
});

t.test('completed, they leave nothing', async (t) => {
  const tickets = ['oom', 'oom-child', 'oom-spare', 'oom-runner', 'drained', 'greedy', 'preempted'];
  await complete(t, { ground, agent }, [...tickets, 'deleted', 'torn']);
});

t.test(
  'while no agent is there, the runner keeps the deadline, and the cluster that of a runner that hangs',
  async (t) => {
    await agent.kill();
    const brief = await ground.agent(['--pod-launch-timeout-ms', '30000']);
    const deadline = { deadlineSeconds: 5, graceSeconds: 1 };
    await start(brief, 'kept', { body: STAYS, ...deadline });
    await start(brief, 'hung', {
      body: `echo ready; sleep 2; ${toRunner('kill -STOP ${p##*/}')}; sleep 600`,
      ...deadline,
    });
    for (const ticket of ['kept', 'hung']) await saysLine(brief, ticket, 'ready');
    await brief.kill();
    const path = 'jsonpath={.status.phase} {.status.reason}';
    const phaseOf = async (ticket: string) => ground.kubectl('get', 'pod', podOf(ticket), '-o', path);
    await eventually(async () => /^(Succeeded|Failed)/.test(await phaseOf('kept')), 120_000);
    await eventually(async () => (await phaseOf('hung')) === 'Failed DeadlineExceeded', 180_000);

    const next = await ground.agent();
    const { outcome: kept, lines } = await endOf(next, 'kept');
    t.match(kept, { code: 'SCRIPT_DEADLINE', exitCode: 0 });
    t.same(textsOf(lines, 'stdout'), ['ready', 'bye']);
    const { lines: lastWords } = await endsAs(t, next, 'hung', {
      code: 'SCRIPT_DEADLINE',
      says: /^the script ran into its deadline, and its runner did not live to write an end record$/,
      raw: /"missing":\["end frame on stdout"/,
      told: /^DeadlineExceeded: /m,
    });
    t.same(textsOf(lastWords, 'stdout'), ['ready']);
    await complete(t, { ground, agent: next }, ['kept', 'hung']);
  },
);

/** One mooring, at node-a. */
async function offerMooring(op: 'add' | 'remove'): Promise<void> {
  const places = ['capacity', 'allocatable'].map((kind) => `/status/${kind}/${MOORING.replace('/', '~1')}`);
  const changes = places.map((path) => ({ op, path, ...(op === 'add' && { value: '1' }) }));
  const what = ['--subresource=status', '--type=json', '-p', JSON.stringify(changes)];
  await ground.cluster.kubectl(['patch', 'node', 'node-a', ...what]);
}
