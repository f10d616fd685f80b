/** The executor against an API server that lies, is late, or is away: what it starts with and what it sees. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { PERMISSIONS } from '../../../src/executors/kubernetes/permissions.ts';
import { eventually } from '../../harness/eventually.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { becomes, runningPod, text, watched } from './made-agent.ts';
import { claim, key, MadeCluster, orderOf, podName } from './made-cluster.ts';
import { anOrder } from './made-order.ts';
import { condition, container, running, waiting } from './made-status.ts';

const maybeOver = { presence: 'alive', maybeOver: true };

/** Lets the clock go on by so much. */
function later(t: { teardown: (work: () => unknown) => void }, ms: number): void {
  const now = Date.now.bind(Date);
  Date.now = () => now() + ms;
  t.teardown(() => (Date.now = now));
}

test('open() names every right that is missing, and asks for the one of the owner only where there is one', async (t) => {
  const cluster = await MadeCluster.start(t);
  cluster.denied.add('patch pods').add('get pods/log').add('get deployments');
  const names = 'the agent lacks rights in team: patch pods, get pods/log';
  await t.rejects(cluster.agent(), { code: 'CLUSTER_FORBIDDEN', message: names });
  t.equal(cluster.calls('create selfsubjectaccessreviews').length, PERMISSIONS.length - 1);
  await t.rejects(cluster.agent({ podOwner: 'agent' }), {
    message: `${names}, get deployments`,
    detail: { missing: [{}, {}, { verb: 'get', resource: 'deployments', group: 'apps' }] },
  });
});

test('open() goes on with an API server that is away, whoever answers for it, and finds the pods when it is back', async (t) => {
  const cluster = await MadeCluster.start(t);
  cluster.makePod();
  cluster.before = (_, exchange) => {
    exchange.text(503, 'no healthy upstream');
    return true;
  };
  const executor = await cluster.agent({ apiDeadlineMs: 300 });
  await cluster.server.stop();
  const another = await cluster.agent({ apiDeadlineMs: 300 });
  t.same(await executor.keys(), []);
  t.same(await another.look(key, undefined), { presence: 'none' });
  t.same(await another.look(key, claim), maybeOver, 'what cannot be seen is not gone');
  cluster.before = () => false;
  await cluster.server.listen();
  await eventually(async () => [...(await executor.keys()), ...(await another.keys())].length === 2);
});

test('open() removes the logs that an agent before it left, and leaves no connection when it cannot', async (t) => {
  const cluster = await MadeCluster.start(t);
  const stateFolder = temporaryFolder(t);
  mkdirSync(join(stateFolder, 'logs', key), { recursive: true });
  await cluster.agent({ stateFolder });
  t.equal(existsSync(join(stateFolder, 'logs')), false);
  const file = join(stateFolder, 'file');
  writeFileSync(file, '');
  const open = cluster.pods.watchers.size;
  await t.rejects(cluster.agent({ stateFolder: file }), { code: 'ENOTDIR' });
  await eventually(() => cluster.pods.watchers.size <= open);
});

test('look() sees a pod that was launched at once, although the watch is late', async (t) => {
  const cluster = await MadeCluster.start(t);
  const executor = await cluster.agent();
  cluster.pods.isQuiet = true;
  t.same(await executor.look(key, undefined), { presence: 'none' });
  await executor.launch(anOrder);
  t.same(await executor.look(key, undefined), { presence: 'alive' });
  t.same(cluster.lookups(), []);
});

test('a claim outranks an old status: what kept the pod from running is not told of a script that runs', async (t) => {
  const cluster = await MadeCluster.start(t);
  const executor = await cluster.agent();
  cluster.makePod();
  const refused = [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: 'no node' }];
  cluster.pods.patch(`ls-${key}`, { status: { phase: 'Pending', conditions: refused } });
  await eventually(async () => 'trouble' in (await executor.look(key, undefined)));
  t.same(await executor.look(key, claim), { presence: 'alive' });
});

test('a claim without a pod is asked of the API server itself before it is called gone', async (t) => {
  const { cluster, executor } = await runningPod(t);
  const other = orderOf('never').key;
  const gone = await executor.look(other, claim);
  t.match(gone, { presence: 'gone', exitCode: null, signal: null, trouble: { code: 'CLUSTER_POD_DELETED' } });
  t.equal(cluster.lookups().length, 1);
  cluster.pods.isQuiet = true;
  cluster.makePod(other);
  t.same(await executor.look(other, claim), { presence: 'alive' }, 'another agent made it a moment ago');
  t.same(await executor.look(other, claim), { presence: 'alive' });
  t.equal(cluster.lookups().length, 2, 'which is asked once');
  cluster.pods.remove(`ls-${other}`);
  cluster.pods.catchUp();
  await eventually(async () => (await executor.look(other, claim)).presence === 'gone');
});

test('look() says alive and maybeOver when the API server does not answer for a claim without a pod', async (t) => {
  const { cluster, executor } = await runningPod(t);
  cluster.before = (name, exchange) => {
    if (name === 'list pods') exchange.text(502, 'bad gateway');
    return name === 'list pods';
  };
  t.same(await executor.look(orderOf('never').key, claim), maybeOver);
});

test('while the API server is away everything is alive and may be over, and nothing afterwards', async (t) => {
  const { cluster, executor } = await runningPod(t);
  t.same(await executor.look(key, claim), { presence: 'alive' });
  await cluster.server.stop();
  await eventually(async () => 'maybeOver' in (await executor.look(key, claim)));
  t.same(await executor.look(key, claim), maybeOver);
  t.same(await executor.look(orderOf('never').key, claim), maybeOver);
  await cluster.server.listen();
  await eventually(() => cluster.pods.watchers.size > 0);
  cluster.makePod(orderOf('news').key);
  await eventually(async () => !('maybeOver' in (await executor.look(key, claim))));
});

test('a script that has not begun while the API server is away has that in its way', async (t) => {
  const { cluster, executor } = await runningPod(t);
  cluster.pods.patch(podName, { status: { phase: 'Pending' } });
  await cluster.server.stop();
  await eventually(async () => 'maybeOver' in (await executor.look(key, undefined)));
  t.same(await executor.look(key, undefined), maybeOver, 'a moment is nothing to speak of');
  later(t, 5000);
  t.match(await executor.look(key, undefined), {
    presence: 'alive',
    trouble: {
      code: 'CLUSTER_UNREACHABLE',
      says: /^since .* the API server does not say what becomes of the pod: /,
      evidence: { since: String, lastHeard: String, met: /ECONNRE/ },
      final: false,
    },
  });
  t.same(await executor.look(key, claim), maybeOver, 'one that has begun goes on without it');
});

test('a lost node is not given up while nobody says that it still is', async (t) => {
  const { cluster, executor } = await runningPod(t);
  cluster.losesNode();
  const deletionTimestamp = new Date(Date.now() - 3_600_000).toISOString();
  cluster.pods.patch(podName, {}, { deletionTimestamp, deletionGracePeriodSeconds: 1 });
  const lost = { code: 'CLUSTER_NODE_LOST', final: true };
  await eventually(async () => 'trouble' in (await executor.look(key, claim)));
  t.match(await executor.look(key, claim), { presence: 'alive', trouble: lost });
  await cluster.server.stop();
  await eventually(async () => 'maybeOver' in (await executor.look(key, claim)));
  t.match(await executor.look(key, claim), { presence: 'alive', trouble: { ...lost, final: false } });
});

test('the log of a script is not waited for while the API server answers nothing: the volume has to do', async (t) => {
  const { cluster, executor } = await runningPod(t, { quietMs: 50, apiDeadlineMs: 300 });
  watched(executor);
  cluster.log.write(['one']);
  await eventually(async () => (await text(executor)) === 'one\n');
  cluster.before = () => true;
  await eventually(async () => (await executor.witness(key)) === undefined);
  cluster.before = () => false;
  cluster.log.write(['two']);
  await eventually(async () => (await text(executor)) === 'one\ntwo\n', 60_000);
});

test('a kubelet that is away makes its script doubtful, although the API server is well and says that it runs', async (t) => {
  const { cluster, executor } = await runningPod(t);
  watched(executor);
  await eventually(() => cluster.log.readers.size === 1);
  cluster.before = (name, exchange) => {
    if (name === 'get pods/log') exchange.text(502, 'dial tcp 10.0.0.2:10250: connect: connection refused');
    return name === 'get pods/log';
  };
  cluster.log.disturb((reader) => reader.reset());
  await eventually(async () => 'maybeOver' in (await executor.look(key, claim)));
  t.same(await executor.look(key, claim), maybeOver);
  cluster.before = () => false;
  await eventually(async () => !('maybeOver' in (await executor.look(key, claim))));
});

test('look() tells what keeps a pod from running', async (t) => {
  const { cluster, executor } = await runningPod(t);
  const message = '0/2 nodes are available: 2 Insufficient cpu.';
  const conditions = [condition('PodScheduled', 'False', { reason: 'Unschedulable', message })];
  cluster.pods.patch(podName, { status: { phase: 'Pending', conditions } });
  await eventually(async () => 'trouble' in (await executor.look(key, undefined)));
  t.match(await executor.look(key, undefined), {
    presence: 'alive',
    trouble: { code: 'CLUSTER_UNSCHEDULABLE', says: /Insufficient cpu/, final: false },
  });
});

test('a pod that has ended is gone when its log was read to the end, for whoever watches it', async (t) => {
  const { cluster, executor } = await runningPod(t);
  const { over, ...seen } = watched(executor);
  await eventually(() => cluster.log.readers.size === 1);
  cluster.before = (name) => name === 'get pods/log';
  cluster.ends(3);
  await eventually(async () => 'maybeOver' in (await executor.look(key, claim)));
  t.same(await executor.look(key, claim), maybeOver, 'its last lines may be on their way');
  t.same(seen.lines, []);
  over.abort();
  t.same(await executor.look(key, claim), { presence: 'gone', exitCode: 3, signal: null });
});

test('the end of a pod comes with its last lines, and ends its watch', async (t) => {
  const { cluster, executor } = await runningPod(t);
  const seen = watched(executor);
  await eventually(() => cluster.log.readers.size === 1);
  cluster.log.write(['last words']);
  cluster.ends();
  t.same(await becomes(executor, 'gone'), { presence: 'gone', exitCode: 0, signal: null });
  t.equal(await text(executor), 'last words\n');
  const { told } = seen;
  cluster.pods.patch(podName, { touched: true });
  cluster.says('late', 'Pulled', 'after the end');
  cluster.makePod(orderOf('after').key);
  await eventually(async () => (await executor.keys()).length === 2);
  t.equal(seen.told, told);
});

test('a pod whose container never began is gone at once, whatever others are in it', async (t) => {
  const { cluster, executor } = await runningPod(t);
  watched(executor);
  await eventually(() => cluster.log.readers.size === 1);
  cluster.pods.remove(podName);
  cluster.log.finish();
  await becomes(executor, 'gone');
  cluster.makePod();
  const proxy = container('istio-proxy', { running: {} });
  const containerStatuses = [proxy, waiting('ErrImageNeverPull')];
  cluster.pods.patch(podName, { status: { phase: 'Failed', reason: 'Evicted', containerStatuses } });
  watched(executor);
  const asked = cluster.calls('get pods/log').length;
  const seen = await becomes(executor, 'gone');
  t.match(seen, { trouble: { code: 'CLUSTER_EVICTED' } });
  t.equal(cluster.calls('get pods/log').length, asked);
});

test('a pod that somebody took away is gone for the reason that was seen last, when its log was read', async (t) => {
  const { cluster, executor } = await runningPod(t);
  watched(executor);
  await eventually(() => cluster.log.readers.size === 1);
  const target = { reason: 'PreemptionByScheduler', message: 'Preempted by pod x' };
  const conditions = [condition('DisruptionTarget', 'True', target)];
  cluster.pods.patch(podName, {
    status: { phase: 'Running', conditions, containerStatuses: [running] },
  });
  cluster.pods.remove(podName);
  await eventually(() => executor.counts.size === 0);
  t.same(await executor.look(key, claim), maybeOver, 'its last lines may be on their way');
  cluster.log.write(['what the kubelet still had']);
  cluster.log.finish();
  const seen = await becomes(executor, 'gone');
  t.match(seen, { exitCode: null, trouble: { code: 'CLUSTER_PREEMPTED', says: /Preempted by pod x/ } });
  t.equal(await text(executor), 'what the kubelet still had\n');
});

test('the end of a pod is not kept up by the dead connection of its log', async (t) => {
  const { cluster, executor } = await runningPod(t);
  watched(executor);
  await eventually(() => cluster.log.readers.size === 1);
  cluster.log.readers.clear();
  cluster.pods.remove(podName);
  await becomes(executor, 'gone');
});

test('a log that ends in good order makes a pod doubtful before the watch says that it has ended', async (t) => {
  const { cluster, executor } = await runningPod(t);
  watched(executor);
  await eventually(() => cluster.log.readers.size === 1);
  cluster.log.finish();
  await eventually(async () => 'maybeOver' in (await executor.look(key, claim)));
  t.same(await executor.look(key, claim), maybeOver);
});

test('keys() are those of pods, and of logs whose pods another agent has removed', async (t) => {
  const { cluster, executor } = await runningPod(t);
  watched(executor);
  await eventually(() => cluster.log.readers.size === 1);
  cluster.pods.remove(podName);
  cluster.log.finish();
  await becomes(executor, 'gone');
  t.same(await executor.keys(), [key]);
  await executor.remove(key);
  t.same(await executor.keys(), []);
});

test('counts are of pods by what their status says', async (t) => {
  const { cluster, executor } = await runningPod(t);
  cluster.makePod(orderOf('pending').key);
  cluster.makePod(orderOf('ended').key);
  cluster.ends(0, orderOf('ended').key);
  await eventually(() => executor.counts.get('ended') === 1);
  t.same(Object.fromEntries(executor.counts), { running: 1, pending: 1, ended: 1 });
});

test('close() lets pods run, and nothing is told any more', async (t) => {
  const { cluster, executor } = await runningPod(t);
  const seen = watched(executor);
  await eventually(() => cluster.log.readers.size === 1);
  await executor.close();
  const { told } = seen;
  cluster.log.write(['one']);
  cluster.ends();
  await executor.close();
  t.equal(seen.told, told);
  await eventually(() => cluster.pods.watchers.size === 0);
  t.equal(cluster.pods.all.size, 1);
  t.same([...cluster.calls('delete pods'), ...cluster.calls('patch pods')], []);
});
