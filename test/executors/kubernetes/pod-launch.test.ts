/** How a pod and its Secret come about, whatever is there already and however the API server answers. */
import { test } from 'tap';
import type { V1Pod, V1Secret } from '@kubernetes/client-node';
import { PodCalls } from '../../../src/executors/kubernetes/pod-calls.ts';
import { PodLaunch } from '../../../src/executors/kubernetes/pod-launch.ts';
import { PodOwnership } from '../../../src/executors/kubernetes/pod-ownership.ts';
import type { FailureCode } from '../../../src/protocol/failure-table.ts';
import { Fault } from '../../../src/protocol/fault.ts';
import { anOrder } from './made-order.ts';
import { key, MadeCluster, orderOf, podName, podSpec, setup } from './made-cluster.ts';

type Test = { teardown: (work: () => unknown) => void };

async function setting(
  t: Test,
  { podOwner, deadlineMs }: { podOwner?: string; deadlineMs?: number } = {},
): Promise<{ cluster: MadeCluster; calls: PodCalls; launch: PodLaunch; anew: () => PodLaunch }> {
  const cluster = await MadeCluster.start(t);
  const connection = await cluster.connection(deadlineMs);
  const calls = new PodCalls(connection, setup.podGroup);
  const anew = (): PodLaunch => {
    const owner = new PodOwnership(connection, podOwner);
    return new PodLaunch({ connection, calls, setup, owner });
  };
  return { cluster, calls, launch: anew(), anew };
}

/** The one Secret that there is, and what its order is mounted as in the pod. */
function secretIn({ secrets }: MadeCluster): { secret: V1Secret | undefined; count: number } {
  const [secret] = secrets.values();
  return { secret, count: secrets.size };
}

function asksFor(pod: unknown): string | undefined {
  return (pod as V1Pod).spec?.volumes?.find(({ name }) => name === 'order')?.secret?.secretName;
}

test('launch() makes the pod, then the Secret that it asks for, owned by the uid of that pod', async (t) => {
  const { cluster, launch } = await setting(t);
  const pod = await launch.launch(anOrder, undefined);
  const { secret, count } = secretIn(cluster);
  t.equal(count, 1);
  t.equal(secret?.metadata?.name, asksFor(pod));
  t.match(secret?.metadata?.name, new RegExp(`^${podName}-[0-9a-f]{8}$`));
  const { uid } = cluster.pods.all.get(podName)?.metadata ?? {};
  t.match(secret?.metadata?.ownerReferences, [{ kind: 'Pod', name: podName, uid }]);
  const order = Buffer.from(secret?.data?.['order.json'] ?? '', 'base64').toString();
  t.match(JSON.parse(order), { key, epoch: anOrder.epoch, workspace: '/longshore/workspace' });
  const made = cluster.server.calls.filter(({ method }) => method === 'POST').map(({ path }) => path);
  t.match(made.at(-2), /pods$/);
  t.match(made.at(-1), /secrets$/);
});

test('launch() takes what a script wishes of its pod into it', async (t) => {
  const { cluster, launch } = await setting(t);
  await launch.launch(anOrder, { image: 'registry/own:1', serviceAccount: 'deployer' });
  const pod = cluster.pods.all.get(podName) as unknown as V1Pod;
  t.match(pod.spec, { serviceAccountName: 'deployer', containers: [{ image: 'registry/own:1' }] });
});

test('launch() puts the labels of a script on its pod', async (t) => {
  const { cluster, launch } = await setting(t);
  await launch.launch(anOrder, undefined, { task: 'ServerTasks-1' });
  t.match(cluster.pods.all.get(podName)?.metadata.labels, { 'longshore.dev/task': 'ServerTasks-1' });
});

test('launch() adopts a pod of its group that waits for its Secret, as an agent leaves it that is killed between the two', async (t) => {
  const { cluster, launch } = await setting(t);
  cluster.makePod();
  const pod = await launch.launch(anOrder, undefined);
  const { uid } = cluster.pods.all.get(podName)?.metadata ?? {};
  t.equal(pod.metadata?.uid, uid, 'that one');
  t.same([...cluster.secrets.keys()], [asksFor({ spec: podSpec })], 'and the name is that of its Secret');
  t.match(secretIn(cluster).secret?.metadata?.ownerReferences, [{ uid }]);
});

test('launch() again and again is one pod and one Secret, from two agents at once too', async (t) => {
  const { cluster, launch, anew } = await setting(t);
  const pods = await Promise.all([launch, anew(), launch].map((one) => one.launch(anOrder, undefined)));
  await launch.launch(anOrder, undefined);
  t.equal(new Set(pods.map(({ metadata }) => metadata?.uid)).size, 1);
  t.equal(cluster.pods.all.size, 1);
  t.equal(cluster.secrets.size, 1);
});

test('a pod that was made although the answer came too late is adopted by the next launch', async (t) => {
  const { cluster, launch } = await setting(t, { deadlineMs: 300 });
  cluster.before = (name, { call }) => {
    if (name !== 'create pods') return false;
    if (!cluster.pods.all.has(podName)) cluster.pods.put(podName, call.body as Record<string, unknown>);
    return true;
  };
  await t.rejects(launch.launch(anOrder, undefined), { code: 'CLUSTER_UNREACHABLE' });
  t.equal(cluster.secrets.size, 0);
  cluster.before = () => false;
  const pod = await launch.launch(anOrder, undefined);
  t.same([...cluster.secrets.keys()], [asksFor(pod)]);
});

test('a pod whose Secret was refused gets it by the next launch', async (t) => {
  const { cluster, launch } = await setting(t);
  cluster.before = (name, exchange) => {
    if (name !== 'create secrets') return false;
    exchange.refuse(403, 'Forbidden', 'secrets "x" is forbidden: exceeded quota: q, requested: secrets=1');
    return true;
  };
  await t.rejects(launch.launch(anOrder, undefined), { code: 'CLUSTER_QUOTA', message: /Secret of the pod/ });
  cluster.before = () => false;
  t.equal(asksFor(await launch.launch(anOrder, undefined)), [...cluster.secrets.keys()][0]);
});

test('launch() never touches a pod of another group of agents, nor one that only looks like ours', async (t) => {
  const { cluster, launch } = await setting(t);
  const taken = { code: 'CLUSTER_POD_REFUSED', detail: { evidence: { name: podName, group: 'others' } } };
  cluster.makePod(key, 'others');
  await t.rejects(launch.launch(anOrder, undefined), taken);
  cluster.pods.patch(podName, {}, { labels: {} });
  await t.rejects(launch.launch(anOrder, undefined), { message: /none of ours, of nobody/ });
  cluster.pods.remove(podName);
  cluster.makePod(key, setup.podGroup, { containers: [] });
  await t.rejects(launch.launch(anOrder, undefined), { code: 'CLUSTER_POD_REFUSED' }, 'waits for no Secret');
  t.equal(cluster.secrets.size, 0);
});

test('launch() waits for an earlier pod of the name that is being deleted, or is gone a moment later', async (t) => {
  const { cluster, launch } = await setting(t);
  cluster.makePod();
  cluster.pods.patch(podName, {}, { deletionTimestamp: '2026-11-24T10:00:00Z' });
  await t.rejects(launch.launch(anOrder, undefined), { code: 'RUNNER_NOT_STARTED', message: /going away/ });
  cluster.before = (name) => {
    if (name === 'list pods') cluster.pods.remove(podName);
    return false;
  };
  await t.rejects(launch.launch(anOrder, undefined), { code: 'RUNNER_NOT_STARTED', message: /is gone/ });
  await launch.launch(anOrder, undefined);
  t.equal(cluster.secrets.size, 1);
});

const quota = 'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5';
const security = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged';
const rights =
  'pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "n"';

const refusals: Readonly<Record<string, readonly [number, string, string, FailureCode]>> = {
  'a full quota': [403, 'Forbidden', quota, 'CLUSTER_QUOTA'],
  'pod security': [403, 'Forbidden', security, 'CLUSTER_POD_REFUSED'],
  'a missing right': [403, 'Forbidden', rights, 'CLUSTER_FORBIDDEN'],
  'an invalid pod': [422, 'Invalid', 'Pod "x" is invalid: spec.x: wrong', 'CLUSTER_POD_REFUSED'],
  'a conflict of the quota': [
    409,
    'Conflict',
    'Operation cannot be fulfilled on resourcequotas "q"',
    'CLUSTER_QUOTA',
  ],
  'a server that is not well': [503, 'ServiceUnavailable', 'etcd is away', 'CLUSTER_UNREACHABLE'],
};

for (const [what, [status, reason, message, code]] of Object.entries(refusals)) {
  test(`launch() says ${code} for ${what}, with the words of the cluster`, async (t) => {
    const { cluster, launch } = await setting(t);
    cluster.before = (name, exchange) => {
      if (name !== 'create pods') return false;
      exchange.refuse(status, reason, message);
      return true;
    };
    const error = await launch.launch(anOrder, undefined).catch((caught: unknown) => caught);
    if (!(error instanceof Fault)) throw new TypeError('not a fault', { cause: error });
    t.equal(error.code, code);
    t.match(JSON.stringify(error.detail['evidence']), message.replaceAll('"', '\\"').slice(0, 40));
    t.equal(cluster.secrets.size, 0);
  });
}

test('launch() says CLUSTER_UNREACHABLE when nobody answers, and when nobody says whose the pod of its name is', async (t) => {
  const { cluster, launch } = await setting(t, { deadlineMs: 300 });
  cluster.makePod();
  cluster.before = (name, exchange) => {
    if (name === 'list pods') exchange.refuse(500, 'InternalError', 'no leader');
    return name === 'list pods';
  };
  const unreachable = { name: 'Fault', code: 'CLUSTER_UNREACHABLE' };
  await t.rejects(launch.launch(anOrder, undefined), { ...unreachable, message: /no leader/ });
  await cluster.server.stop();
  await t.rejects(launch.launch(anOrder, undefined), unreachable);
});

test('launch() refuses an order that no Secret can hold', async (t) => {
  const { cluster, launch } = await setting(t);
  const order = { ...anOrder, arguments: ['x'.repeat(1024 * 1024)] };
  await t.rejects(launch.launch(order, undefined), {
    code: 'CLUSTER_POD_REFUSED',
    message: /at most 1048576/,
  });
  t.same([cluster.pods.all.size, cluster.secrets.size], [0, 0], 'nothing was made');
});

test('the owner of the pods is looked up once, and again after it was not found', async (t) => {
  const { cluster, launch } = await setting(t, { podOwner: 'agent' });
  await t.rejects(launch.launch(anOrder, undefined), {
    code: 'CLUSTER_POD_REFUSED',
    message: /podOwner names the Deployment agent/,
    detail: { evidence: { podOwner: 'agent' } },
  });
  cluster.owner = 'uid-of-agent';
  await Promise.all(['a', 'b', 'c'].map((name) => launch.launch(orderOf(name), undefined)));
  await launch.launch(anOrder, undefined);
  t.equal(cluster.calls('get deployments').length, 2);
  const owners = [...cluster.pods.all.values()].map(({ metadata }) => metadata.ownerReferences);
  const [reference] = owners.flat();
  t.match(reference, { apiVersion: 'apps/v1', kind: 'Deployment', name: 'agent', uid: 'uid-of-agent' });
  t.equal(owners.filter(Boolean).length, 4);
});

test('an owner that cannot be read now is no reason to give a script up', async (t) => {
  const { cluster, launch } = await setting(t, { podOwner: 'agent', deadlineMs: 300 });
  cluster.before = (name, exchange) => {
    if (name === 'get deployments') exchange.refuse(503, 'ServiceUnavailable', 'etcd is away');
    return name === 'get deployments';
  };
  await t.rejects(launch.launch(anOrder, undefined), { code: 'CLUSTER_UNREACHABLE' });
  t.equal(cluster.pods.all.size, 0);
});

test('find() knows the pods of the own group only, and findNamed() whoever has the name', async (t) => {
  const { cluster, calls } = await setting(t);
  t.equal(await calls.find(key), undefined);
  cluster.makePod(key, 'others');
  cluster.makePod(orderOf('another').key);
  t.equal(await calls.find(key), undefined);
  t.equal((await calls.findNamed(key))?.metadata?.name, podName);
  cluster.pods.remove(podName);
  cluster.makePod();
  t.equal((await calls.find(key))?.metadata?.name, podName);
});

test('delete() takes that pod and no later one of its name; one that is gone is no error', async (t) => {
  const { cluster, calls } = await setting(t);
  cluster.makePod();
  const earlier = await calls.find(key);
  cluster.pods.remove(podName);
  t.equal(await calls.delete(key, earlier ?? {}, 1), false);
  cluster.makePod();
  await t.rejects(calls.delete(key, earlier ?? {}, 1), {
    code: 'CLUSTER_UNREACHABLE',
    message: /precondition/,
  });
  t.equal(cluster.pods.all.size, 1);
  t.equal(await calls.delete(key, (await calls.find(key)) ?? {}, 1), true);
  t.equal(await calls.expire(key), false);
});
