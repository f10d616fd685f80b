/** Outages of the API server under running scripts, on a real cluster, seen as a server sees them. */
import t, { type Test } from 'tap';
import type { JournalLine } from '../../../src/protocol/script-status.ts';
import type { AgentProcess } from '../../harness/agent-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { agentGroundFor, type AgentGround } from './agent-ground.ts';
import { holdThroughOutage } from './outage-trial.ts';
import { put, STEADY_EXIT_CODE, SteadyScript } from './steady-script.ts';

const NODE_LABEL = 'kubernetes.io/hostname';

let ground: AgentGround;
let agent: AgentProcess;

t.before(async () => {
  ground = await agentGroundFor(t);
  const nodeSelector = { [NODE_LABEL]: ground.cluster.nodes };
  agent = await ground.agent(['--pod-policy', JSON.stringify({ nodeSelector })]);
});
t.afterEach((t) => {
  if (!t.passing()) t.comment(agent.log.slice(-100).join('\n'));
});

const steady = async (t: Test, ticket: string): Promise<SteadyScript> => {
  const script = await SteadyScript.start(t, {
    agent: () => agent,
    volume: `${ground.folder}/volume`,
    ticket,
  });
  await script.writes(20);
  return script;
};

async function stdoutOf(ticket: string): Promise<string[]> {
  const { json } = await agent.call('GET', `/v1/scripts/${ticket}?after=s0.a0`);
  const { lines } = json['journal'] as { lines: readonly JournalLine[] };
  return lines.filter(({ stream }) => stream === 'stdout').map(({ text }) => text);
}

const isApiServerUp = async (): Promise<boolean> =>
  ground.cluster.kubectl(['get', '--raw', '/readyz', '--request-timeout=2s']).then(
    () => true,
    () => false,
  );

t.test('invariant 5: the API server is killed, and the journal goes on meanwhile and is whole', async (t) => {
  const begin = ground.cluster.outage.apiServerKilled;
  await holdThroughOutage(t, { ground, agent, begin, ticket: 'killed', isToldMeanwhile: true });
});

t.test(
  'invariant 5: the API server takes connections and never answers, and the journal is whole',
  async (t) => {
    const begin = ground.cluster.outage.apiServerFrozen;
    await holdThroughOutage(t, { ground, agent, begin, ticket: 'frozen', isToldMeanwhile: false });
  },
);

t.test(
  'a script that ends while the API server is away is told to have ended before it is back',
  async (t) => {
    const script = await steady(t, 'ends');
    const mend = await ground.cluster.outage.apiServerKilled();
    t.teardown(mend);
    script.stop();
    const { outcome } = await script.finished;
    t.equal(await isApiServerUp(), false);
    t.match(outcome, { code: 'SCRIPT_FAILED', exitCode: STEADY_EXIT_CODE });
    t.ok(script.told.equals(script.written));
    await mend();
    t.same((await agent.follow('ends')).status.outcome, outcome, 'and stays so');
    t.equal((await agent.call('DELETE', '/v1/scripts/ends')).status, 204);
  },
);

t.test(
  'invariant 9: cancelled while the API server is away, a script is ended when it is back',
  async (t) => {
    const body = 'trap "echo bye; exit 0" TERM; echo ready; while :; do sleep 0.1; done';
    await put(agent, 'cancelled', { body });
    await eventually(async () => (await stdoutOf('cancelled')).includes('ready'), 60_000);
    const mend = await ground.cluster.outage.apiServerKilled();
    t.teardown(mend);
    t.match(await agent.call('POST', '/v1/scripts/cancelled/cancel'), { status: 202 });
    // Started and cancelled without anybody who could make a pod.
    await put(agent, 'never', { body: 'echo ran' });
    t.match(await agent.call('POST', '/v1/scripts/never/cancel'), { status: 202 });
    const never = await agent.follow('never');
    t.equal(never.status.outcome?.code, 'SCRIPT_CANCELLED');
    t.equal(await isApiServerUp(), false, 'what never had a pod needs no API server to be cancelled');
    await mend();
    const backAt = performance.now();
    const { status } = await agent.follow('cancelled');
    const seconds = (performance.now() - backAt) / 1000;
    // A kubelet may hear nothing for more than a minute after the API server was away.
    t.ok(seconds < 180, `ended ${seconds} s after the API server was back`);
    t.equal(status.outcome?.code, 'SCRIPT_CANCELLED');
    t.same(await stdoutOf('cancelled'), ['ready', 'bye']);
    t.same(await stdoutOf('never'), []);
    t.equal((await ground.names('pods')).join(' ').includes('ls-never'), false);
  },
);

t.test('the controllers and the kubelets have noticed that the API server is back', async (t) => {
  // Each of them pauses longer and longer between its attempts; a suite that comes next would wait for them.
  await ground.kubectl('delete', 'serviceaccount', 'default');
  const isMadeAnew = async () => (await ground.kubectl('get', 'serviceaccounts')).includes('default');
  await eventually(isMadeAnew, 180_000);
  for (const node of ground.cluster.nodes) {
    await put(agent, `after-${node}`, { body: 'true', pod: { nodeSelector: { [NODE_LABEL]: node } } });
    t.match((await agent.follow(`after-${node}`)).status.outcome, { code: 'SUCCEEDED' });
  }
});
