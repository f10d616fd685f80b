/** How pods are ended and taken away, and whose pods never are. */
import { test } from 'tap';
import type { KubernetesExecutor } from '../../../src/executors/kubernetes/kubernetes-executor.ts';
import { PodCalls } from '../../../src/executors/kubernetes/pod-calls.ts';
import { PodRemoval } from '../../../src/executors/kubernetes/pod-removal.ts';
import { PodWatch } from '../../../src/executors/kubernetes/pod-watch.ts';
import { eventually } from '../../harness/eventually.ts';
import { claim, key, MadeCluster, podName, setup } from './made-cluster.ts';

type Test = { teardown: (work: () => unknown) => void };

/** An agent and the one pod, whose container runs. */
async function setting(
  t: Test,
  deadlines: { readonly clearDeadlineMs?: number; readonly removalDeadlineMs?: number } = {},
): Promise<{ cluster: MadeCluster; executor: KubernetesExecutor }> {
  const cluster = await MadeCluster.start(t);
  cluster.makePod();
  cluster.runs();
  const executor = await cluster.agent(deadlines);
  await eventually(() => cluster.pods.watchers.size > 0);
  return { cluster, executor };
}

/** The grace of every deletion so far. */
function deletions(cluster: MadeCluster): unknown[] {
  return cluster
    .calls('delete pods')
    .map(({ body }) => (body as { gracePeriodSeconds: number }).gracePeriodSeconds);
}

test('stop() with a claim of a runner sets the deadline of the pod to a second, so that its log stays', async (t) => {
  const { cluster, executor } = await setting(t);
  t.equal(await executor.stop(key, claim), true);
  t.equal(await executor.stop(key, claim), true, 'again');
  t.match(cluster.pods.all.get(podName)?.['spec'], { activeDeadlineSeconds: 1 });
  t.same(deletions(cluster), []);
});

test('stop() asks nobody when the container has ended, or the pod is gone', async (t) => {
  const { cluster, executor } = await setting(t);
  cluster.ends();
  await eventually(async () => (await executor.look(key, claim)).presence === 'gone');
  t.equal(await executor.stop(key, claim), false);
  cluster.pods.remove(podName);
  await eventually(async () => (await executor.keys()).length === 0);
  t.equal(await executor.stop(key, claim), false);
  t.equal(await executor.stop(key, undefined), false);
  t.same(cluster.calls('patch pods'), []);
  t.same(deletions(cluster), []);
});

test('stop() without a claim of a runner deletes what was launched, with a short grace, and may be repeated', async (t) => {
  const { cluster, executor } = await setting(t);
  t.equal(await executor.stop(key, undefined), true);
  t.equal(cluster.pods.all.size, 0);
  const byAgent = { by: 'agent', reason: 'SCRIPT_CANCELLED', at: '2026-11-24T10:00:05Z' } as const;
  t.equal(await executor.stop(key, byAgent), false);
  t.same(deletions(cluster).slice(0, 1), [1]);
});

test('stop() and remove() find a pod that another agent made a moment ago', async (t) => {
  const { cluster, executor } = await setting(t);
  cluster.pods.isQuiet = true;
  cluster.pods.remove(podName);
  cluster.pods.catchUp();
  await eventually(async () => (await executor.keys()).length === 0);
  cluster.pods.isQuiet = true;
  cluster.makePod();
  t.equal(await executor.stop(key, undefined), true);
  cluster.makePod();
  await executor.remove(key);
  t.equal(cluster.pods.all.size, 0);
});

test('stop(), clear() and remove() leave a pod of that name alone that another group of agents has', async (t) => {
  const cluster = await MadeCluster.start(t);
  cluster.makePod(key, 'others');
  const executor = await cluster.agent();
  t.equal(await executor.stop(key, undefined), false);
  t.equal(await executor.stop(key, claim), false);
  await executor.clear(key);
  await executor.remove(key);
  t.equal(cluster.pods.all.size, 1);
  t.same(deletions(cluster), []);
  t.same(cluster.calls('patch pods'), []);
});

test('a pod that took the name of the one that was meant is not deleted, and the next attempt knows it', async (t) => {
  const { cluster, executor } = await setting(t);
  cluster.pods.isQuiet = true;
  cluster.pods.remove(podName);
  cluster.makePod();
  await t.rejects(executor.remove(key), { code: 'CLUSTER_UNREACHABLE', message: /precondition/ });
  t.equal(cluster.pods.all.size, 1);
  cluster.pods.catchUp();
  await eventually(async () =>
    executor.remove(key).then(
      () => true,
      () => false,
    ),
  );
  t.equal(cluster.pods.all.size, 0);
});

test('clear() returns when the pod has ended or is gone, and may be repeated', async (t) => {
  const { cluster, executor } = await setting(t);
  await executor.clear(key);
  t.equal(cluster.pods.all.size, 0);
  await executor.clear(key);
  cluster.makePod();
  cluster.ends();
  await eventually(async () => (await executor.keys()).length === 1);
  await executor.clear(key);
  t.equal(cluster.pods.all.size, 1, 'the log of one that has ended stays');
  t.same(deletions(cluster), [1]);
});

test('clear() waits for a pod that takes its time, and asks once', async (t) => {
  const { cluster, executor } = await setting(t);
  cluster.lingers = true;
  let isCleared = false;
  const clearing = executor.clear(key).then(() => (isCleared = true));
  await eventually(() => deletions(cluster).length === 1);
  t.equal(isCleared, false);
  cluster.pods.remove(podName);
  await clearing;
  t.same(deletions(cluster), [1]);
});

test('clear() of a pod that does not end says RUNNER_FAILED at its deadline', async (t) => {
  const { cluster, executor } = await setting(t, { clearDeadlineMs: 500 });
  cluster.lingers = true;
  await t.rejects(executor.clear(key), { code: 'RUNNER_FAILED' });
  await t.rejects(executor.clear(key), { code: 'RUNNER_FAILED' }, 'again');
  t.equal(cluster.pods.all.size, 1);
});

test('clear() takes the object of a pod by force only when its node is lost and its grace is over', async (t) => {
  const { cluster, executor } = await setting(t);
  cluster.lingers = true;
  cluster.losesNode();
  await eventually(async () => {
    const seen = await executor.look(key, claim);
    return seen.presence === 'alive' && seen.trouble?.code === 'CLUSTER_NODE_LOST';
  });
  await executor.clear(key);
  t.equal(cluster.pods.all.size, 0);
  t.same(deletions(cluster), [1, 0]);
});

test('clear() and remove() fail while the API server is away, and do their work when it is back', async (t) => {
  const { cluster, executor } = await setting(t);
  cluster.before = (_, exchange) => {
    exchange.reset();
    return true;
  };
  const unreachable = { code: 'CLUSTER_UNREACHABLE' };
  await Promise.all([
    t.rejects(executor.clear(key), unreachable),
    t.rejects(executor.remove(key), unreachable),
    t.rejects(executor.stop(key, claim), unreachable),
    t.rejects(executor.stop(key, undefined), unreachable),
  ]);
  cluster.before = () => false;
  await executor.remove(key);
  t.equal(cluster.pods.all.size, 0);
  t.same(await executor.look(key, undefined), { presence: 'none' });
});

test('remove() waits until the pod is gone, but no longer than its deadline', async (t) => {
  const { cluster, executor } = await setting(t, { removalDeadlineMs: 500 });
  cluster.lingers = true;
  const startedAt = performance.now();
  await executor.remove(key);
  t.ok(performance.now() - startedAt > 450);
  t.same(await executor.keys(), [key], 'still there, so that it is found and removed again');
  cluster.lingers = false;
  await executor.remove(key);
  await executor.remove(key);
  t.same(await executor.keys(), []);
});

test('remove() of a pod that another agent has removed returns when this one has seen it too', async (t) => {
  const { cluster, executor } = await setting(t);
  cluster.pods.isQuiet = true;
  cluster.pods.remove(podName);
  const removed = executor.remove(key);
  await eventually(() => deletions(cluster).length === 1);
  cluster.pods.catchUp();
  await removed;
  t.same(await executor.look(key, undefined), { presence: 'none' });
});

test('when the API server goes away after it took a deletion, clear() says that nobody knows, not that a process hangs', async (t) => {
  const cluster = await MadeCluster.start(t);
  cluster.makePod();
  cluster.runs();
  cluster.lingers = true;
  const connection = await cluster.connection(300);
  const calls = new PodCalls(connection, setup.podGroup);
  const told = { changed: () => undefined, observe: () => undefined, nowMs: Date.now };
  const pods = new PodWatch({ connection, group: setup.podGroup, ...told });
  t.teardown(() => pods.close());
  await pods.whenSynced(20_000);
  await eventually(() => cluster.pods.watchers.size > 0);
  const removal = new PodRemoval({ calls, pods, clearDeadlineMs: 2000 });
  const clearing = removal.clear(key);
  const rejection = t.rejects(clearing, { code: 'CLUSTER_UNREACHABLE', message: /does not say/ });
  await eventually(() => deletions(cluster).length === 1);
  await eventually(() => pods.pod(key)?.metadata?.deletionTimestamp !== undefined);
  await cluster.server.stop();
  await rejection;
});

test('abandon() takes away the object of a pod whose processes nobody can end', async (t) => {
  const { cluster, executor } = await setting(t, { clearDeadlineMs: 300 });
  cluster.lingers = true;
  await t.rejects(executor.clear(key), { code: 'RUNNER_FAILED' });
  await executor.abandon(key);
  t.equal(deletions(cluster).at(-1), 0);
});
