/** Outages of a node under running scripts, on a real cluster, seen as a server sees them. */
import t, { type Test } from 'tap';
import type { AgentProcess } from '../../harness/agent-process.ts';
import { agentGroundFor, type AgentGround } from './agent-ground.ts';
import { holdThroughOutage } from './outage-trial.ts';
import { STEADY_EXIT_CODE, SteadyScript } from './steady-script.ts';

const NODE = 'node-b';
const LABEL = 'kubernetes.io/hostname';
const onNode = { pod: { nodeSelector: { [LABEL]: NODE } } };
/** Until the cluster calls a node lost: 50 s, and 30 s that a pod tolerates it. */
const NODE_LOST_S = 80;
/** What a pod has to end in beside the grace of its script. */
const END_MARGIN_S = 17;

let ground: AgentGround;
let agent: AgentProcess;

t.before(async () => {
  ground = await agentGroundFor(t);
  agent = await ground.agent(['--pod-policy', JSON.stringify({ nodeSelector: { [LABEL]: [NODE] } })]);
});
t.afterEach((t) => {
  if (!t.passing()) t.comment(agent.log.slice(-100).join('\n'));
});

const steady = async (t: Test, ticket: string, more: object): Promise<SteadyScript> => {
  const volume = `${ground.folder}/volume`;
  const script = await SteadyScript.start(t, {
    agent: () => agent,
    ...{ volume, ticket },
    more: { ...onNode, ...more },
  });
  await script.writes(20);
  return script;
};

t.test('invariant 5: the kubelet is killed and comes back, and the journal is whole', async (t) => {
  const begin = async () => ground.cluster.outage.kubeletKilled(NODE);
  await holdThroughOutage(t, {
    ...{ ground, agent, begin },
    ...{ ticket: 'kubelet', more: onNode, isToldMeanwhile: true },
  });
});

t.test('invariant 5: containerd is started anew, and the journal is whole', async (t) => {
  const begin = async () => {
    await ground.cluster.outage.containerdRestarted(NODE);
    return async () => undefined;
  };
  await holdThroughOutage(t, {
    ...{ ground, agent, begin },
    ...{ ticket: 'containerd', more: onNode, isToldMeanwhile: true },
  });
});

t.test(
  'a script that ends on a node whose kubelet is gone is told to have ended, and is completed',
  async (t) => {
    const script = await steady(t, 'unseen', {});
    const mend = await ground.cluster.outage.kubeletKilled(NODE);
    t.teardown(mend);
    const stoppedAt = performance.now();
    script.stop();
    const { outcome } = await script.finished;
    const seconds = (performance.now() - stoppedAt) / 1000;
    t.ok(seconds < 45, `told after ${seconds} s, before the cluster calls the node lost`);
    t.match(outcome, { code: 'SCRIPT_FAILED', exitCode: STEADY_EXIT_CODE });
    t.ok(script.told.equals(script.written));
    t.equal((await agent.call('DELETE', '/v1/scripts/unseen')).status, 204);
  },
);

t.test(
  'invariant 4: a node loses its power, and what ran there is CLUSTER_NODE_LOST in bounded time',
  async (t) => {
    const graceSeconds = 1;
    const script = await steady(t, 'lost', { graceSeconds });
    const mend = await ground.cluster.outage.powerCut(NODE);
    t.teardown(mend);
    const cutAt = performance.now();
    const { outcome } = await script.finished;
    const seconds = (performance.now() - cutAt) / 1000;
    t.match(outcome, { code: 'CLUSTER_NODE_LOST', exitCode: null, evidence: { pod: { node: NODE } } });
    const bound = NODE_LOST_S + graceSeconds + END_MARGIN_S;
    t.ok(seconds < bound + 30, `told after ${seconds} s; the cluster says it after ${bound}`);
    t.ok(script.told.length > 0);
    t.ok(
      script.written.subarray(0, script.told.length).equals(script.told),
      'what reached the volume and what was told agree',
    );
    const said = script.lines.filter(({ stream }) => stream === 'pod').map(({ text }) => text);
    t.match(said.join('\n'), new RegExp(`node ${NODE} does not report any more`));
    await mend();
    t.same((await agent.follow('lost')).status.outcome, outcome, 'a node that comes back changes nothing');
    t.equal((await agent.call('DELETE', '/v1/scripts/lost')).status, 204);
  },
);
