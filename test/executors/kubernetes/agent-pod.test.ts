/** What the agent does to its own pod. */
import { test, type Test } from 'tap';
import { AgentPod } from '../../../src/executors/kubernetes/agent-pod.ts';
import { MadeCluster } from './made-cluster.ts';

const pods = '/api/v1/namespaces/team/pods';

async function setting(t: Test): Promise<{ cluster: MadeCluster; pod: AgentPod }> {
  const cluster = await MadeCluster.start(t);
  cluster.server.answer = (exchange) => {
    const isList = exchange.call.method === 'GET';
    exchange.json(200, isList ? { items: [{ metadata: { name: 'agent-0', uid: 'u1' } }] } : {});
  };
  return { cluster, pod: new AgentPod(await cluster.connection(2000), 'agent-0') };
}

test('tell() records an Event about the pod, cut to what an Event may hold', async (t) => {
  const { cluster, pod } = await setting(t);
  const message = 'x'.repeat(5000);
  await pod.tell({ type: 'Warning', reason: 'StorageLost', message }, new Date(0));
  const [looked, told] = cluster.server.calls;
  t.match(looked, { path: pods, query: { fieldSelector: 'metadata.name=agent-0' } });
  t.match(told, {
    method: 'POST',
    path: '/api/v1/namespaces/team/events',
    body: {
      involvedObject: { kind: 'Pod', name: 'agent-0', uid: 'u1' },
      ...{ type: 'Warning', reason: 'StorageLost', lastTimestamp: '1970-01-01T00:00:00.000Z' },
      message: message.slice(0, 1024),
    },
  });
});

test('replace() deletes that very pod, and no later one of its name', async (t) => {
  const { cluster, pod } = await setting(t);
  await pod.replace();
  t.match(cluster.server.calls.at(-1), {
    ...{ method: 'DELETE', path: `${pods}/agent-0` },
    body: { preconditions: { uid: 'u1' } },
  });
});

test('a pod that is not there, or a server that refuses, is told and may be tried again', async (t) => {
  const { cluster, pod } = await setting(t);
  cluster.server.answer = (exchange) => exchange.json(200, { items: [] });
  await t.rejects(pod.replace(), { code: 'CLUSTER_UNREACHABLE', message: /no such pod/ });
  cluster.server.answer = (exchange) => exchange.refuse(403, 'Forbidden', 'no right');
  await t.rejects(pod.tell({ type: 'Normal', reason: 'StorageTrusted', message: 'x' }, new Date()), {
    code: 'CLUSTER_UNREACHABLE',
    message: /no right/,
  });
});
