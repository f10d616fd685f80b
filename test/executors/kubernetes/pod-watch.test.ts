/** What one watch of pods and one of events know of the scripts, between what is seen, what was made and what is gone. */
import { test } from 'tap';
import { reasonsOf } from '../../../src/executors/kubernetes/api-error.ts';
import type { PodEvent } from '../../../src/executors/kubernetes/pod-event.ts';
import { podNameFor } from '../../../src/executors/kubernetes/pod-names.ts';
import { PodWatch, type PhaseEvent, type Pod } from '../../../src/executors/kubernetes/pod-watch.ts';
import { ScriptWatches } from '../../../src/executors/kubernetes/script-watches.ts';
import type { ScriptKey } from '../../../src/protocol/ticket.ts';
import { eventually } from '../../harness/eventually.ts';
import { key, MadeCluster, orderOf, podName, setup } from './made-cluster.ts';
import { condition, CREATED, STARTED, ENDED, terminated } from './made-status.ts';

type Test = { teardown: (work: () => unknown) => void };

interface Setting {
  readonly cluster: MadeCluster;
  readonly watch: PodWatch;
  readonly told: [ScriptKey, PodEvent | undefined][];
  /** What pod() said of the script while it was told of a change. */
  readonly uids: (string | undefined)[];
  readonly phases: PhaseEvent[];
  /** Lets so many ms pass. */
  readonly pass: (ms: number) => void;
}

async function setting(
  t: Test,
  before?: (cluster: MadeCluster) => void,
  more: { quietMs?: number } = {},
): Promise<Setting> {
  const cluster = await MadeCluster.start(t);
  before?.(cluster);
  const told: Setting['told'] = [];
  const uids: Setting['uids'] = [];
  const phases: PhaseEvent[] = [];
  let passedMs = 0;
  const watch = new PodWatch({
    connection: await cluster.connection(500),
    ...more,
    group: setup.podGroup,
    changed: (of, event) => {
      told.push([of, event]);
      uids.push(watch.pod(of)?.metadata?.uid);
    },
    observe: (event) => {
      if (event.type === 'phase') phases.push(event);
    },
    nowMs: () => Date.now() + passedMs,
  });
  t.teardown(() => watch.close());
  return { cluster, watch, told, uids, phases, pass: (ms) => (passedMs += ms) };
}

async function synced(
  t: Test,
  ...given: [before?: (cluster: MadeCluster) => void, more?: { quietMs?: number }]
): Promise<Setting> {
  const all = await setting(t, ...given);
  await all.watch.whenSynced(20_000);
  await eventually(() => all.cluster.pods.watchers.size > 0 && all.cluster.events.watchers.size > 0);
  return all;
}

/** As the API server answers it. */
function answered({ pods }: MadeCluster): Pod {
  return pods.all.get(podName) as unknown as Pod;
}

test('the pods of the own group are known by the keys of their scripts, and no others', async (t) => {
  const { cluster, watch } = await synced(t, (made) => {
    made.makePod();
    made.makePod(orderOf('other').key, 'others');
    made.pods.put('ls-', { metadata: { labels: made.pods.all.get(podName)?.metadata.labels } });
  });
  t.same(watch.keys, [key]);
  cluster.makePod(orderOf('new').key);
  await eventually(() => watch.keys.length === 2);
  t.equal(watch.pod(orderOf('other').key), undefined);
  t.match(watch.pod(key)?.metadata?.name, podName);
});

test('what is kept of a pod leaves its managed fields out', async (t) => {
  const { watch } = await synced(t, (made) => {
    made.makePod();
    made.pods.patch(podName, {}, { managedFields: [{ manager: 'kubelet' }] });
  });
  t.equal(watch.pod(key)?.metadata?.managedFields, undefined);
  t.ok(watch.pod(key)?.metadata?.uid);
});

test('note() bridges the time until the watch tells of a pod, and no longer than that takes at most', async (t) => {
  const { cluster, watch, pass } = await synced(t);
  cluster.pods.isQuiet = true;
  cluster.makePod();
  watch.note(key, answered(cluster));
  t.equal(watch.pod(key)?.metadata?.uid, answered(cluster).metadata?.uid);
  pass(31_000);
  t.equal(watch.pod(key), undefined, 'it was gone before it came into the watch');
  t.equal(watch.isGone(key), false, 'which nobody saw');
  watch.note(key, answered(cluster));
  cluster.pods.catchUp();
  await eventually(() => watch.keys.length === 1);
  pass(31_000);
  t.ok(watch.pod(key), 'the watch knows it');
});

test('note() of a pod that the watch knows does not take the place of what the watch says later', async (t) => {
  const { cluster, watch } = await synced(t);
  cluster.makePod();
  const asMade = answered(cluster);
  cluster.runs();
  await eventually(() => watch.pod(key)?.status?.phase === 'Running');
  watch.note(key, asMade);
  t.equal(watch.pod(key)?.status?.phase, 'Running');
  cluster.pods.remove(podName);
  await eventually(() => watch.isGone(key));
  watch.note(key, asMade);
  t.equal(watch.pod(key), undefined, 'an answer that was on its way when the pod went');
});

test('note() of a pod that follows an earlier one of its name outlives what is told of the earlier one', async (t) => {
  const { cluster, watch, uids } = await synced(t, (made) => made.makePod());
  cluster.pods.isQuiet = true;
  cluster.pods.remove(podName);
  cluster.makePod();
  watch.note(key, answered(cluster));
  const { uid } = answered(cluster).metadata ?? {};
  t.equal(watch.pod(key)?.metadata?.uid, uid);
  const before = uids.length;
  cluster.pods.catchUp();
  await eventually(() => uids.length >= before + 2);
  t.same(uids.slice(before), [uid, uid], 'when the first was told to be gone, and when the second came');
});

test('made pods are kept for a time, in any number', async (t) => {
  const { cluster, watch, pass } = await synced(t);
  cluster.pods.isQuiet = true;
  cluster.makePod();
  watch.note(key, answered(cluster));
  pass(20_000);
  const second = orderOf('second').key;
  watch.note(second, { metadata: { uid: 'second' } });
  pass(15_000);
  t.equal(watch.pod(second)?.metadata?.uid, 'second');
  t.equal(watch.pod(key), undefined);
  watch.forget(second);
  t.equal(watch.pod(second), undefined);
});

test('there is doubt until every pod was listed, and while the API server is away', async (t) => {
  const { cluster, watch, told } = await setting(t, (made) => {
    made.before = (name) => name === 'list pods';
  });
  t.equal(await watch.whenSynced(50), false);
  t.match(watch.doubt, { sinceMs: Number, heardMs: 0, error: undefined }, 'nobody has answered yet');
  cluster.before = () => false;
  await cluster.server.stop();
  await cluster.server.listen();
  await eventually(() => watch.doubt === undefined);
  cluster.makePod();
  await eventually(() => cluster.pods.watchers.size > 0 && told.length === 1);
  await cluster.server.stop();
  await eventually(() => watch.doubt !== undefined);
  t.same(told, [
    [key, undefined],
    [key, undefined],
  ]);
  const { sinceMs } = watch.doubt ?? {};
  await eventually(() => reasonsOf(watch.doubt?.error).includes('ECONNREFUSED'));
  t.match(watch.doubt, { sinceMs, heardMs: Number }, 'it is the same outage');
  await cluster.server.listen();
  cluster.makePod(orderOf('new').key);
  await eventually(() => watch.doubt === undefined && watch.keys.length === 2);
});

test('an API server that takes connections and answers nothing is found before its watch is missed', async (t) => {
  const { cluster, watch } = await synced(t, undefined, { quietMs: 50 });
  t.equal(watch.doubt, undefined);
  cluster.before = () => true;
  await eventually(() => watch.doubt !== undefined);
  t.match(reasonsOf(watch.doubt?.error), /did not answer a list of pods/);
  t.equal(cluster.pods.watchers.size, 1, 'the watch is open');
  cluster.before = () => false;
  await eventually(() => watch.doubt === undefined);
});

test('a watch that the server ends in good order makes nothing doubtful', async (t) => {
  const { cluster, watch } = await synced(t);
  cluster.pods.disturb((watcher) => watcher.end());
  await eventually(() => cluster.pods.watchers.size > 0);
  t.equal(watch.doubt, undefined);
});

test('whyGone() speaks of how a pod was seen last, of its events, or says that nothing is known', async (t) => {
  const { cluster, watch } = await synced(t, (made) => made.makePod());
  t.match(watch.whyGone(orderOf('never').key), { code: 'CLUSTER_POD_DELETED', final: true });
  const target = { reason: 'EvictionByEvictionAPI', message: 'Eviction API: evicting' };
  cluster.pods.patch(podName, { status: { conditions: [condition('DisruptionTarget', 'True', target)] } });
  cluster.pods.remove(podName);
  await eventually(() => watch.isGone(key));
  t.match(watch.whyGone(key), { code: 'CLUSTER_EVICTED', final: true, evidence: { pod: podName } });
  watch.forget(key);
  t.match(watch.whyGone(key), { code: 'CLUSTER_POD_DELETED' });
  cluster.says('e', 'Preempted', 'by a pod of higher priority', { type: 'Warning' });
  await eventually(() => watch.events(key).length === 1);
  t.match(watch.whyGone(key), { code: 'CLUSTER_PREEMPTED', says: /higher priority/ });
});

test('pods that are gone are remembered in a bounded number, the last ones', async (t) => {
  const { cluster, watch } = await synced(t);
  const keys = Array.from({ length: 1002 }, (_, index) => orderOf(`t${index}`).key);
  for (const one of keys) cluster.makePod(one);
  for (const one of keys) cluster.pods.remove(podNameFor(one));
  const last = keys.at(-1) ?? key;
  await eventually(() => watch.isGone(last));
  t.same(
    keys.slice(0, 4).map((one) => watch.isGone(one)),
    [false, false, true, true],
  );
});

test('events of a pod are told as they come, and kept in a bounded number, the last ones', async (t) => {
  const { cluster, watch, told } = await synced(t, (made) => made.makePod());
  for (let index = 0; index < 60; index += 1) cluster.says(`e${index}`, 'Pulling', `image ${index}`);
  await eventually(() => told.length >= 60);
  const kept = watch.events(key).map(({ message }) => message);
  t.same([kept.length, kept[0], kept.at(-1)], [50, 'image 10', 'image 59']);
  t.ok(told.every(([of, event]) => of === key && (event === undefined || event.reason === 'Pulling')));
  cluster.says('e10', 'Pulling', 'image 10 again');
  await eventually(() => watch.events(key).at(-1)?.message === 'image 10 again');
  for (let index = 0; index < 60; index += 1) cluster.events.remove(`e${index}`);
  await eventually(() => watch.events(key).length === 0);
});

test('events of what is no script pod are not kept', async (t) => {
  const { cluster, told } = await synced(t);
  cluster.events.put('e1', { involvedObject: { kind: 'Pod', name: 'web-1' }, reason: 'Pulled', message: '' });
  cluster.says('e2', 'Pulled', 'ours');
  await eventually(() => told.length > 0);
  t.same(
    told.map(([of]) => of),
    [key],
  );
});

test('the stretches of the way of a pod are told once, when it has ended', async (t) => {
  const { cluster, phases, watch } = await synced(t, (made) => made.makePod());
  const times = { creationTimestamp: CREATED };
  cluster.pods.patch(podName, {}, times);
  cluster.runs();
  cluster.pods.patch(podName, {
    status: { phase: 'Running', containerStatuses: [terminated(0, 'Completed')] },
  });
  cluster.ends();
  await eventually(() => watch.pod(key)?.status?.phase === 'Succeeded');
  t.same(phases, [
    { type: 'phase', phase: 'started', seconds: (Date.parse(STARTED) - Date.parse(CREATED)) / 1000 },
    { type: 'phase', phase: 'ended', seconds: (Date.parse(ENDED) - Date.parse(STARTED)) / 1000 },
  ]);
});

test('ScriptWatches keeps one watch a script and leaves nothing at the signal of the ones before', async (t) => {
  const watches = new ScriptWatches();
  const agent = new AbortController();
  let attached = 0;
  const { signal } = agent;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...all: Parameters<typeof add>) => ((attached += 1), add(...all));
  signal.removeEventListener = (...all: Parameters<typeof remove>) => ((attached -= 1), remove(...all));
  const first = { changed: () => undefined, signal };
  const second = { ...first };
  watches.set(key, first);
  watches.set(key, second);
  t.equal(watches.get(key), second);
  t.equal(attached, 1);
  watches.set(key, { ...first, signal: AbortSignal.abort() });
  t.equal(watches.has(key), false, 'one that is over takes the place as well');
  t.equal(attached, 0);
  watches.set(key, first);
  agent.abort();
  t.equal(watches.get(key), undefined);
  t.equal(attached, 0);
});
