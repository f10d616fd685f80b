/** What stands in the way of a runner, or happens to its pod, and what becomes of the script then. */
import { writeFileSync } from 'node:fs';
import t from 'tap';
import type { Executor, Trouble } from '../../src/executors/executor.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { scriptKeyFor } from '../../src/protocol/ticket.ts';
import { runOrderFor } from '../../src/scripts/run-order.ts';
import { SilentEnd } from '../../src/scripts/silent-end.ts';
import { stopTimesFor } from '../../src/scripts/stop-times.ts';
import { publishWorkspace } from '../../src/staging/workspace.ts';
import { launchPauseMs } from '../../src/scripts/launch-pause.ts';
import { LaunchTrial } from '../../src/scripts/launch-trial.ts';
import { PodNotes } from '../../src/scripts/pod-notes.ts';
import { removeRunLeftovers } from '../../src/scripts/run-leftovers.ts';
import { publishScript } from '../../src/scripts/script-start.ts';
import { findOrCreateEpoch } from '../../src/mount/epoch.ts';
import { MadeTrust } from '../harness/made-trust.ts';
import { eventually } from '../harness/eventually.ts';
import { MadeExecutor } from '../harness/made-executor.ts';
import { endSegment, framesOf, stdout } from '../harness/made-journal.ts';
import { finished, key1, request, scene, sceneOn, statusOf, t1, ticketOf } from './script-scene.ts';

const unschedulable: Trouble = {
  code: 'CLUSTER_UNSCHEDULABLE',
  says: 'no node has 1000 processors',
  evidence: { message: '0/2 nodes are available: 2 Insufficient cpu.' },
  final: false,
  sinceMs: 0,
};
const evicted: Trouble = { ...unschedulable, code: 'CLUSTER_EVICTED', says: 'low on memory', final: true };

t.test(
  'a launch that is refused for good ends the script at once, with the words of the refusal',
  async (t) => {
    const { book, executor } = await scene(t);
    executor.refuses = new Fault('CLUSTER_POD_REFUSED', 'violates PodSecurity "restricted:latest"', {
      detail: { evidence: { reason: 'Forbidden' } },
    });
    await book.start('server', t1, request);
    const { outcome } = await finished(book);
    t.match(outcome, { code: 'CLUSTER_POD_REFUSED', says: /PodSecurity/, startedAt: null });
    t.match(outcome?.evidence, { reason: 'Forbidden' });
  },
);

t.test(
  'a launch that may go well later is tried again until launchTimeoutMs, then its reason is told, and how often it was tried',
  async (t) => {
    const made = await scene(t);
    const limits = { ...made.room.limits, launchTimeoutMs: 2500 };
    const { book, executor, events } = sceneOn(made.volume, { limits });
    t.teardown(() => book.close());
    executor.refuses = new Fault('CLUSTER_QUOTA', 'exceeded quota: q', {
      detail: { evidence: { reason: 'Forbidden' } },
    });
    await book.start('server', t1, request);
    const { outcome, journal } = await finished(book);
    t.match(outcome, { code: 'CLUSTER_QUOTA', says: /exceeded quota/ });
    t.same(
      journal.lines.filter(({ stream }) => stream === 'pod').map(({ text }) => text),
      ['exceeded quota: q'],
      'who waits for it reads why, once',
    );
    const launches = events.filter((event) => event.type === 'trouble' && event.step === 'launch').length;
    t.ok(launches === 2 || launches === 3, `${launches} launches in 2.5 s, with pauses of a second and more`);
    t.same(outcome?.evidence, { reason: 'Forbidden', launches });
  },
);

t.test('a script is launched when its launch was taken, and not while it is refused', async (t) => {
  const { book, executor, events } = await scene(t);
  executor.refuses = new Fault('CLUSTER_QUOTA', 'exceeded quota: q');
  await book.start('server', t1, request);
  await eventually(() => events.some((event) => event.type === 'trouble' && event.step === 'launch'));
  t.equal((await statusOf(book)).state, 'published');
  await finished(book);
  const states = events.flatMap((event) => (event.type === 'state' ? [event.state] : []));
  t.same(states, ['finished']);
});

t.test('a pause between two launches does not keep a cancel waiting', async (t) => {
  const made = await scene(t);
  const limits = { ...made.room.limits, launchTimeoutMs: 3_600_000, reconcileMs: 3_600_000 };
  const { book, executor, events } = sceneOn(made.volume, { limits });
  t.teardown(() => book.close());
  executor.refuses = new Fault('CLUSTER_QUOTA', 'exceeded quota: q');
  await book.start('server', t1, request);
  await eventually(() => events.some((event) => event.type === 'trouble' && event.step === 'launch'));
  const began = performance.now();
  await book.cancel('server', t1);
  t.match((await finished(book)).outcome, { code: 'SCRIPT_CANCELLED', startedAt: null });
  t.ok(performance.now() - began < 1000, 'the shortest pause is a second');
});

t.test('launchPauseMs() is 1 s at least, and at most 2 s that double up to 30 s', async (t) => {
  const most = (launches: number): number => launchPauseMs(launches, 1);
  t.same([1, 2, 3, 4, 5, 6, 1e9].map(most), [2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  t.same(
    [1, 2, 1e9].map((launches) => launchPauseMs(launches, 0)),
    [1000, 1000, 1000],
  );
});

t.test(
  'what an agent that died has launched is launched once more, which gives it what it may lack',
  async (t) => {
    const { book, executor } = await scene(t);
    executor.exists(key1);
    executor.troubles.set(key1, unschedulable);
    executor.onLaunch = (order) => {
      executor.claims(order);
      executor.ends(order, { exitCode: 0 });
    };
    await book.start('server', t1, request);
    t.match((await finished(book)).outcome, { code: 'SUCCEEDED' });
    t.equal(executor.launched.length, 1);
  },
);

t.test('invariant 13: nobody watches a script any more that is over, whether it began or not', async (t) => {
  const { book, executor } = await scene(t);
  await book.start('server', t1, request);
  await eventually(() => executor.isWatched(key1));
  await book.cancel('server', t1);
  t.equal((await finished(book)).outcome?.code, 'SCRIPT_CANCELLED');
  await eventually(() => !executor.isWatched(key1));
});

t.test('a launch has what the script wishes of its pod, and its labels', async (t) => {
  const { book, executor } = await scene(t);
  const told: unknown[] = [];
  executor.launch = (...given: Parameters<Executor['launch']>) => {
    told.push(given.slice(1));
    return MadeExecutor.prototype.launch.call(executor, given[0]);
  };
  const [pod, labels] = [{ image: 'own:1' }, { task: 'ServerTasks-1' }];
  await book.start('server', t1, { ...request, pod, labels });
  await finished(book);
  t.same(told, [[pod, labels]]);
});

t.test('a quota that goes away in time costs nothing', async (t) => {
  const { book, executor } = await scene(t);
  executor.refuses = new Fault('CLUSTER_QUOTA', 'exceeded quota: q');
  executor.onLaunch = (order) => {
    executor.claims(order);
    executor.ends(order, { exitCode: 0 });
  };
  await book.start('server', t1, request);
  executor.refuses = undefined;
  t.match((await finished(book)).outcome, { code: 'SUCCEEDED' });
});

t.test(
  'what keeps a pod from running is a journal line once, and the outcome when time is over',
  async (t) => {
    const { book, executor } = await scene(t);
    executor.onLaunch = (order) => executor.troubles.set(order.key, unschedulable);
    await book.start('server', t1, request);
    const { outcome, journal } = await finished(book);
    t.match(outcome, {
      code: 'CLUSTER_UNSCHEDULABLE',
      says: unschedulable.says,
      evidence: unschedulable.evidence,
    });
    t.equal(
      journal.lines.filter(({ stream, text }) => stream === 'pod' && text === unschedulable.says).length,
      1,
    );
    t.same(executor.stopped, [key1], 'what was launched is taken away');
  },
);

t.test('a pod that ended before its runner took the script says why', async (t) => {
  const { book, executor } = await scene(t);
  executor.onLaunch = (order) => {
    executor.troubles.set(order.key, { ...evicted, code: 'CLUSTER_INIT_FAILED' });
    executor.vanishes(order.key);
  };
  await book.start('server', t1, request);
  t.match((await finished(book)).outcome, { code: 'CLUSTER_INIT_FAILED', exitCode: null });
});

t.test(
  'a pod that is gone without an end record has the code of what happened to it, never a success',
  async (t) => {
    const { book, executor } = await scene(t);
    executor.onLaunch = (order) => {
      executor.claims(order);
      executor.troubles.set(order.key, evicted);
      executor.vanishes(order.key);
    };
    await book.start('server', t1, request);
    const { outcome } = await finished(book);
    t.match(outcome, { code: 'CLUSTER_EVICTED', says: evicted.says, exitCode: null });
    t.match(outcome?.evidence, { pod: evicted.evidence, missing: ['end frame on stdout'] });
  },
);

t.test('a script is over when its end record is there, although its pod looks alive', async (t) => {
  const { book, executor } = await scene(t);
  executor.onLaunch = (order) => {
    executor.claims(order);
    executor.doubtful.add(order.key);
  };
  await book.start('server', t1, request);
  await eventually(async () => (await statusOf(book)).state === 'running');
  const [order] = executor.launched;
  if (order === undefined) throw new TypeError('nothing was launched');
  t.equal((await statusOf(book)).outcome, null);
  executor.records(order, { exitCode: 4 });
  t.match((await finished(book)).outcome, { code: 'SCRIPT_FAILED', exitCode: 4 });
});

t.test('an end record of a runner that somebody stopped waits for the pod to say who did', async (t) => {
  const { book, executor } = await scene(t);
  executor.onLaunch = (order) => {
    executor.claims(order);
    executor.doubtful.add(order.key);
    executor.records(order, { exitCode: null, stoppedBy: 'signal' });
  };
  await book.start('server', t1, request);
  await eventually(async () => (await statusOf(book)).state === 'running');
  t.equal((await statusOf(book)).outcome, null);
  executor.troubles.set(key1, evicted);
  executor.vanishes(key1);
  t.match((await finished(book)).outcome, { code: 'CLUSTER_EVICTED', says: evicted.says });
});

t.test('SilentEnd believes a runner that somebody stopped when nobody said in time who did', async (t) => {
  let offsetMs = 0;
  const made = await scene(t);
  const { room, executor } = sceneOn(made.volume, { now: () => new Date(Date.now() + offsetMs) });
  const { asked } = await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
  await publishWorkspace(room.volume, asked.staging, key1);
  const order = runOrderFor(room, asked);
  const claim = executor.claims(order);
  const end = new SilentEnd(room, asked);
  const nobody = { cancelled: false, trouble: undefined };
  t.equal(await end.isBelieved(claim, nobody), false, 'there is no record');
  executor.records(order, { exitCode: null, stoppedBy: 'signal' });
  t.equal(await end.isBelieved(claim, nobody), false);
  t.equal(await end.isBelieved(claim, { ...nobody, cancelled: true }), true);
  t.equal(await end.isBelieved(claim, { ...nobody, trouble: evicted }), true);
  offsetMs = 15_000;
  t.equal(await end.isBelieved(claim, nobody), true);
});

t.test(
  'an end record on the volume is not believed while lines that only the log has are on their way',
  async (t) => {
    const { room, executor } = await scene(t);
    const { asked } = await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
    await publishWorkspace(room.volume, asked.staging, key1);
    const order = runOrderFor(room, asked);
    const key = Buffer.from(order.journalKey, 'base64');
    const claim = executor.claims(order);
    const silent = new SilentEnd(room, asked);
    const around = { cancelled: false, trouble: undefined };
    t.equal(await silent.isBelieved(claim, around), false, 'there is none');
    const end = endSegment({ lines: 2, exitCode: 0, framesNotOnVolume: 1 });
    const [first, second] = framesOf(key, [[stdout('one\n')], [end]]);
    writeFileSync(room.volume.layout.workspace(key1).journal, second ?? '');
    t.equal(await silent.isBelieved(claim, around), false, 'a line is missing');
    executor.says(key1, Buffer.concat([first ?? Buffer.alloc(0), second ?? Buffer.alloc(0)]));
    t.equal(await silent.isBelieved(claim, around), true, 'the log has all');
  },
);

t.test(
  'a stopped runner that is gone from its pod is told with the reason that comes a moment later',
  async (t) => {
    const { book, executor } = await scene(t);
    executor.kind = 'kubernetes';
    executor.onLaunch = (order) => {
      executor.claims(order);
      executor.ends(order, { stoppedBy: 'signal', exitCode: 143 });
    };
    await book.start('server', t1, request);
    await eventually(async () => (await statusOf(book)).journal.lines.some(({ text }) => text === 'hello'));
    t.equal((await statusOf(book)).outcome, null);
    executor.troubles.set(key1, evicted);
    t.equal((await finished(book)).outcome?.code, 'CLUSTER_EVICTED');
  },
);

t.test('a pod that will not come back is settled without waiting for its end', async (t) => {
  const { book, executor } = await scene(t);
  executor.onLaunch = (order) => {
    executor.claims(order);
    executor.troubles.set(order.key, { ...evicted, code: 'CLUSTER_NODE_LOST' });
  };
  await book.start('server', t1, request);
  t.match((await finished(book)).outcome, { code: 'CLUSTER_NODE_LOST' });
  t.same(executor.cleared, [key1], 'and nothing of it is left running where that can be seen to');
});

t.test('a runner that was given up and lives may still say how its script ended', async (t) => {
  const { book, executor } = await scene(t);
  executor.onLaunch = (order) => {
    executor.claims(order);
    executor.troubles.set(order.key, { ...evicted, code: 'CLUSTER_POD_DELETED' });
    executor.clear = async (key) => {
      executor.records(order, { exitCode: 0, stoppedBy: 'signal' });
      executor.vanishes(key);
      return Promise.resolve();
    };
  };
  await book.start('server', t1, request);
  const { outcome, journal } = await finished(book);
  t.match(outcome, { code: 'CLUSTER_POD_DELETED', exitCode: 0 });
  t.ok(journal.lines.some(({ text }) => text === 'hello'));
});

t.test('what is told of a pod comes into the journal once, however often it is told', async (t) => {
  const { room, book } = await scene(t);
  await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
  let added = 0;
  const notes = new PodNotes(room, key1, () => (added += 1));
  await notes.add({ text: 'Scheduled to node-a', mark: 'event-1' });
  await notes.add({ text: 'Scheduled to node-a', mark: 'event-1' });
  await new PodNotes(room, key1, () => undefined).add({ text: 'Scheduled to node-a', mark: 'event-1' });
  t.equal(added, 1);
  t.equal((await statusOf(book)).journal.lines.filter(({ stream }) => stream === 'pod').length, 1);
});

t.test('LaunchTrial gives up what is final at once, and anything else when its time is over', async (t) => {
  let offsetMs = 0;
  const made = await scene(t);
  const { room } = sceneOn(made.volume, { now: () => new Date(Date.now() + offsetMs) });
  const { asked } = await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
  const trial = new LaunchTrial(room, asked);
  t.equal(trial.judge(undefined), undefined);
  t.equal(trial.judge(unschedulable), undefined);
  t.match(trial.judge(evicted), { code: 'CLUSTER_EVICTED' });
  offsetMs = room.limits.launchTimeoutMs + 1000;
  t.match(trial.judge(unschedulable), { code: 'CLUSTER_UNSCHEDULABLE' });
  t.match(new LaunchTrial(room, asked).judge(undefined), undefined, 'the clock of a new agent begins anew');
});

t.test('LaunchTrial never says that something is in the way that was only in the way before', async (t) => {
  let offsetMs = 0;
  const made = await scene(t);
  const { room, executor } = sceneOn(made.volume, { now: () => new Date(Date.now() + offsetMs) });
  const { asked } = await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
  const trial = new LaunchTrial(room, asked);
  executor.refuses = new Fault('CLUSTER_QUOTA', 'exceeded quota: q');
  t.equal(await trial.launch(), undefined);
  t.match(trial, { isLaunched: false, refusal: { code: 'CLUSTER_QUOTA' } });
  executor.refuses = undefined;
  await trial.launch();
  t.match(trial, { isLaunched: true, refusal: undefined });
  offsetMs = room.limits.launchTimeoutMs + 1000;
  t.same(trial.judge(undefined), { code: 'RUNNER_NOT_STARTED' }, 'the quota has let it through');
  offsetMs = 0;
  t.equal(trial.judge(unschedulable), undefined);
  offsetMs = room.limits.launchTimeoutMs + 1000;
  t.match(trial.judge(undefined), {
    code: 'RUNNER_NOT_STARTED',
    says: /^the runner could not be started in time.* before that: no node has 1000 processors$/,
    evidence: { earlier: { code: 'CLUSTER_UNSCHEDULABLE', since: '1970-01-01T00:00:00.000Z' } },
  });
});

t.test(
  'what an executor has of scripts that nobody asked for is removed, and of the others nothing',
  async (t) => {
    const { volume } = await scene(t);
    const { room, executor, book, events } = sceneOn(volume, {
      mount: new MadeTrust(await findOrCreateEpoch(volume)),
    });
    t.teardown(() => book.close());
    await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
    const { order } = { order: { key: scriptKeyFor('server', ticketOf('orphan')) } };
    executor.exists(key1);
    executor.exists(order.key);
    t.equal(await removeRunLeftovers(room, 0), 1);
    t.same(executor.removed, [order.key]);
    t.match(events, [{ type: 'leftover', key: order.key, reason: 'orphaned' }]);
  },
);

t.test('invariant 6: on an emptied volume nothing is taken for a leftover', async (t) => {
  const { volume } = await scene(t);
  const { room, executor } = sceneOn(volume, {
    mount: new MadeTrust(await findOrCreateEpoch(volume)),
  });
  executor.exists(key1);
  await volume.removeTree(volume.layout.identity);
  t.equal(await removeRunLeftovers(room, 0), 0);
  t.same(executor.removed, []);
});

t.test('a runner in a pod gets more time to stop: a kubelet has to hear of it first', async (t) => {
  const { room, executor } = await scene(t);
  const { asked } = await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
  const at = new Date(0).toISOString();
  const here = stopTimesFor(room, asked, at);
  executor.kind = 'kubernetes';
  const inPod = stopTimesFor(room, asked, at);
  t.ok(inPod.stopMs > here.stopMs);
  t.ok(here.lastMs >= asked.deadlineMs + here.stopMs, 'nobody is stopped before the deadline');
});
