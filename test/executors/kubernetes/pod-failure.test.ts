/** What the status of a pod means for its script: a table of statuses as a kubelet writes them, then the rules. */
import fc from 'fast-check';
import { test } from 'tap';
import { isNodeSilent } from '../../../src/executors/kubernetes/pod-departure.ts';
import { isExitCodeTrue } from '../../../src/executors/kubernetes/pod-end.ts';
import { podFactsOf } from '../../../src/executors/kubernetes/pod-facts.ts';
import { goneView, viewOf, type PodView } from '../../../src/executors/kubernetes/pod-failure.ts';
import { failedInit } from '../../../src/executors/kubernetes/pod-hindrance.ts';
import { inOneLine, momentOf } from '../../../src/executors/kubernetes/loose-json.ts';
import { quoted, troubleFrom } from '../../../src/executors/kubernetes/pod-trouble.ts';
import { isFailureCode } from '../../../src/protocol/failure-table.ts';
import { ENDED_STATUSES } from './ended-statuses.ts';
import * as made from './made-status.ts';
import {
  condition,
  container,
  deleted,
  eventOf,
  podWith,
  running,
  silent,
  terminated,
  waiting,
} from './made-status.ts';
import { PENDING_STATUSES } from './pending-statuses.ts';
import { RUNNING_STATUSES } from './running-statuses.ts';

const NOW = made.atMs('2026-11-24T11:00:00Z');
const troubleOf = (view: PodView) => (view.state === 'ended' ? view.failure : view.trouble);

for (const [title, row] of Object.entries({ ...PENDING_STATUSES, ...RUNNING_STATUSES, ...ENDED_STATUSES })) {
  const [state, code, says] = row.view;
  test(`viewOf() says ${code} of ${title}`, async (t) => {
    const seen = viewOf(row.pod, row.events ?? [], NOW);
    t.equal(seen.state, state);
    const { code: seenCode, says: seenSays, final } = troubleOf(seen) ?? {};
    t.same([seenCode, seenSays, final], [code, says, row.final ?? state === 'ended']);
    if (seen.state === 'ended') t.equal(seen.exitCode, row.exitCode);
  });
}

test('viewOf() finds no trouble in a pod that does as it should', async (t) => {
  const conditions = [condition('Ready', 'True'), condition('ContainersReady', 'True')];
  const seen = [
    podWith({}),
    podWith({ phase: 'Pending' }),
    podWith({ phase: 'Pending', conditions: [condition('PodScheduled', 'True')] }),
    podWith({ phase: 'Pending', containerStatuses: [waiting('ContainerCreating')] }),
    podWith({ phase: 'Running', conditions, containerStatuses: [running] }),
    podWith({ phase: 'Succeeded', containerStatuses: [terminated(0, 'Completed')] }),
    podWith({ phase: 'Failed', containerStatuses: [terminated(3, 'Error', { message: 'last words' })] }),
  ].map((pod) => viewOf(pod, [], NOW));
  const end = (exitCode: number) => ({ state: 'ended', exitCode, signal: null });
  const [pending, runs] = [{ state: 'pending' }, { state: 'running' }];
  t.same(seen, [pending, pending, pending, pending, runs, end(0), end(3)]);
});

test('viewOf() says ended when the container is, although others in the pod go on', async (t) => {
  const proxy = container('istio-proxy', { running: {} });
  const pod = podWith({ phase: 'Running', containerStatuses: [proxy, terminated(3, 'Error')] });
  t.same(viewOf(pod, [], NOW), { state: 'ended', exitCode: 3, signal: null });
});

test('viewOf() names the signal where the runtime does', async (t) => {
  const seen = [9, 15, 200, 0].map((signal) =>
    viewOf(podWith({ containerStatuses: [terminated(137, 'Error', { signal })] }), [], NOW),
  );
  t.same(
    seen.map((view) => view.state === 'ended' && view.signal),
    ['SIGKILL', 'SIGTERM', 'signal 200', null],
  );
});

test('viewOf() takes a deletion after the end for no reason of the end', async (t) => {
  const status = { phase: 'Failed', containerStatuses: [terminated(3, 'Error')] };
  const pod = podWith(status, { deletionTimestamp: made.LATER, deletionGracePeriodSeconds: 30 });
  t.same(viewOf(pod, [], NOW), { state: 'ended', exitCode: 3, signal: null });
});

test('viewOf() takes a lost node for final when the grace of its pod is over, and later where somebody else deleted it', async (t) => {
  const graceOver = made.atMs(deleted.deletionTimestamp);
  const finalAt = (nowMs: number, metadata = {}, conditions = silent) => {
    const status = { phase: 'Running', conditions, containerStatuses: [running] };
    return troubleOf(viewOf(podWith(status, metadata), [], nowMs))?.final;
  };
  const givenUp = [...silent, made.target('DeletionByTaintManager', 'Taint manager: deleting')];
  t.same(
    [finalAt(graceOver - 1, deleted, givenUp), finalAt(graceOver, deleted, givenUp)],
    [false, true],
    'given up by the node controller',
  );
  t.same(
    [finalAt(graceOver + 59_999, deleted), finalAt(graceOver + 60_000, deleted)],
    [false, true],
    'a kubelet that is well may not know of the deletion yet',
  );
  t.equal(finalAt(NOW), false, 'nobody deleted it');
});

test('viewOf() believes a failed mount until a later step went well', async (t) => {
  const pod = podWith({ phase: 'Pending', containerStatuses: [waiting('ContainerCreating')] });
  const mount = eventOf('FailedMount', 'no route to host');
  const pull = eventOf('Pulling', 'Pulling image "x"', { type: 'Normal', lastTimestamp: made.ENDED });
  t.equal(troubleOf(viewOf(pod, [mount], NOW))?.code, 'CLUSTER_MOUNT_FAILED');
  t.equal(troubleOf(viewOf(pod, [pull, mount], NOW)), undefined);
});

test('viewOf() takes the reason of an end from the events, where the runner left with 0 and the status says nothing', async (t) => {
  const pod = podWith({ phase: 'Succeeded', containerStatuses: [terminated(0, 'Completed')] });
  const told = eventOf(
    'Evicted',
    'Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ',
  );
  t.match(troubleOf(viewOf(pod, [told], NOW)), {
    code: 'CLUSTER_EVICTED',
    says: /^the node evicted the pod: .* 10Mi$/,
  });
  t.equal(troubleOf(viewOf(pod, [], NOW)), undefined);
});

test('viewOf() hears no event of an earlier pod of the name', async (t) => {
  const pod = podWith(
    { phase: 'Pending', containerStatuses: [waiting('ContainerCreating')] },
    { uid: 'uid-b' },
  );
  t.equal(troubleOf(viewOf(pod, [eventOf('FailedMount', 'old')], NOW)), undefined);
});

test('viewOf() tells since when, from the times of the status', async (t) => {
  const since = [
    podWith({ conditions: [condition('PodScheduled', 'False', { lastTransitionTime: made.LATER })] }),
    podWith({ containerStatuses: [running] }, deleted),
    podWith({ phase: 'Failed', containerStatuses: [terminated(137, 'OOMKilled')] }),
  ].map((pod) => troubleOf(viewOf(pod, [], NOW))?.sinceMs);
  t.same(since, [made.LATER, '2026-11-24T10:00:30Z', made.ENDED].map(made.atMs));
});

test('a trouble carries what the cluster said as it came (invariant 14)', async (t) => {
  const status = {
    phase: 'Pending',
    conditions: [
      condition('PodScheduled', 'True'),
      condition('Ready', 'False', { reason: 'ContainersNotReady' }),
    ],
    containerStatuses: [waiting('ErrImagePull', 'not\nfound')],
  };
  const seen = troubleOf(viewOf(podWith(status), [eventOf('Failed', 'Error: ErrImagePull')], NOW));
  t.same(seen?.evidence, {
    pod: 'ls-a',
    uid: 'uid-a',
    node: 'node-a',
    phase: 'Pending',
    conditions: [{ type: 'Ready', status: 'False', reason: 'ContainersNotReady' }],
    containers: [{ name: 'script', state: 'waiting', reason: 'ErrImagePull', message: 'not\nfound' }],
    events: [{ reason: 'Failed', message: 'Error: ErrImagePull', count: 1, at: '2026-11-24T10:00:05.000Z' }],
  });
});

const vanishings: Readonly<Record<string, readonly [ReturnType<typeof goneView>, string, RegExp]>> = {
  'a pod that was never seen': [
    goneView(undefined, []),
    'CLUSTER_POD_DELETED',
    /^the pod is gone, and nothing/,
  ],
  'a running pod that nobody was seen to delete': [
    goneView(podWith({ phase: 'Running', containerStatuses: [running] }), []),
    'CLUSTER_POD_DELETED',
    /^the pod on node node-a is gone, and nothing in the cluster says who deleted it$/,
  ],
  'a pod that was seen to be deleted': [
    goneView(podWith({ containerStatuses: [running] }, deleted), []),
    'CLUSTER_POD_DELETED',
    /^somebody deleted the pod on node node-a$/,
  ],
  'a pod that had ended by itself': [
    goneView(podWith({ phase: 'Failed', containerStatuses: [terminated(3, 'Error')] }), []),
    'CLUSTER_POD_DELETED',
    /after its container had ended with exit code 3$/,
  ],
  'a pod that had ended for a reason': [
    goneView(podWith({ phase: 'Failed', containerStatuses: [terminated(137, 'OOMKilled')] }), []),
    'CLUSTER_OOM',
    /^the kernel killed/,
  ],
  'a pod that was removed by force from a silent node': [
    goneView(podWith({ phase: 'Running', conditions: silent, containerStatuses: [running] }), []),
    'CLUSTER_NODE_LOST',
    /^node node-a does not report any more/,
  ],
  'a pod of which the scheduler said that it preempted it': [
    goneView(undefined, [eventOf('Preempted', 'Preempted by pod x on node node-a', { type: 'Normal' })]),
    'CLUSTER_PREEMPTED',
    /: Preempted by pod x on node node-a$/,
  ],
  'a pod whose node was silent before its taint drove it away': [
    goneView(undefined, [
      eventOf('NodeNotReady', 'Node is not ready'),
      eventOf('TaintManagerEviction', 'Marking for deletion Pod ns/ls-a', { lastTimestamp: made.ENDED }),
    ]),
    'CLUSTER_NODE_LOST',
    /did not report any more, and the pod is gone: Node is not ready$/,
  ],
  'a pod whose eviction was taken back and that somebody deleted then': [
    goneView(undefined, [eventOf('TaintManagerEviction', 'Cancelling deletion of Pod ns/ls-a')]),
    'CLUSTER_POD_DELETED',
    /nothing in the cluster says/,
  ],
  'a pod whose node had been silent and was well again': [
    goneView(podWith({ conditions: [condition('Ready', 'True')], containerStatuses: [running] }), [
      eventOf('NodeNotReady', 'Node is not ready'),
    ]),
    'CLUSTER_POD_DELETED',
    /nothing in the cluster says/,
  ],
};

for (const [title, [trouble, code, says]] of Object.entries(vanishings)) {
  test(`goneView() says ${code} of ${title}, and that it is final`, async (t) => {
    t.equal(trouble.code, code);
    t.match(trouble.says, says);
    t.equal(trouble.final, true);
  });
}

/** Statuses whose parts are right, wrong, missing or of another type. */
const word = fc.oneof(
  fc.constantFrom(
    'True',
    'False',
    'Failed',
    'Running',
    'Pending',
    'OOMKilled',
    'Evicted',
    'script',
    'constructor',
  ),
  fc.constantFrom('DisruptionTarget', 'PodScheduled', 'Ready', 'ContainersReady', '__proto__', 'toString'),
  fc.string({ maxLength: 30 }),
  fc.constant('2026-11-24T10:00:00Z'),
);
const loose = (members: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 9, arbitrary: fc.record(members, { requiredKeys: [] }) }, fc.jsonValue());
const many = (one: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 9, arbitrary: fc.array(one, { maxLength: 20 }) }, fc.jsonValue());
const number = fc.oneof(fc.integer(), fc.double(), word);
const facts = { reason: word, message: fc.oneof(word, fc.string({ minLength: 5000, maxLength: 6000 })) };
const ending = { ...facts, exitCode: number, signal: number, startedAt: word, finishedAt: word };
const state = loose({
  waiting: loose(facts),
  running: loose({ startedAt: word }),
  terminated: loose(ending),
});
const statuses = many(loose({ name: word, image: word, state, lastState: state, restartCount: number }));
const conditions = many(loose({ type: word, status: word, lastTransitionTime: word, ...facts }));
const anyPod = loose({
  metadata: loose({ name: word, uid: word, deletionTimestamp: word, deletionGracePeriodSeconds: number }),
  spec: loose({ nodeName: word, containers: many(loose({ name: word, resources: fc.jsonValue() })) }),
  status: loose({
    phase: word,
    ...facts,
    conditions,
    containerStatuses: statuses,
    initContainerStatuses: statuses,
  }),
});
// The whole point: an object that is no V1Pod where the type says that it is.
const asPod = (value: unknown) => value as Parameters<typeof viewOf>[0];

test('viewOf() and goneView() never fail, never say success, and bound what they say, whatever the pod', async (t) => {
  fc.assert(
    fc.property(anyPod, fc.integer(), (pod, nowMs) => {
      const view = viewOf(asPod(pod), [], nowMs);
      const troubles = [troubleOf(view) ?? goneView(asPod(pod), []), goneView(asPod(pod), [])];
      return (
        ['pending', 'running', 'ended'].includes(view.state) &&
        troubles.every(
          ({ code, says, evidence, sinceMs }) =>
            isFailureCode(code) &&
            code !== 'SUCCEEDED' &&
            says.length < 1600 &&
            !/[\n\0]/.test(says) &&
            Number.isFinite(sinceMs) &&
            JSON.stringify(evidence).length < 64 * 1024,
        )
      );
    }),
    { numRuns: 500 },
  );
  t.pass();
});

test('a reason that nobody knows is CLUSTER_POD_FAILED, in the sentence and in the evidence as it came (invariant 14)', async (t) => {
  const unknown = fc.stringMatching(/^[A-Z][a-z]{3,20}Zz$/);
  fc.assert(
    fc.property(unknown, fc.constantFrom('pod', 'waiting', 'terminated', 'disruption'), (reason, place) => {
      const pod = {
        pod: podWith({ phase: 'Failed', reason }),
        waiting: podWith({ phase: 'Pending', containerStatuses: [waiting(reason)] }),
        terminated: podWith({ phase: 'Failed', containerStatuses: [terminated(1, reason)] }),
        disruption: podWith({ containerStatuses: [running], conditions: [made.target(reason, '')] }),
      }[place];
      const trouble = troubleOf(viewOf(pod, [], NOW));
      return (
        trouble?.code === 'CLUSTER_POD_FAILED' &&
        trouble.says.includes(reason) &&
        JSON.stringify(trouble.evidence).includes(`"${reason}"`)
      );
    }),
  );
  t.pass();
});

test('the parts of a status: a silent node, a failed init container, a made-up exit code, a time that is none', async (t) => {
  const factsOf = (status: Readonly<Record<string, unknown>>) => podFactsOf(podWith(status));
  const gates = [condition('Ready', 'False', { reason: 'ReadinessGatesNotReady' }), ...silent.slice(1)];
  const isSilent = (conditions: unknown[]) =>
    isNodeSilent(factsOf({ conditions, containerStatuses: [running] }));
  t.same([isSilent(silent), isSilent(gates), isSilent([])], [true, false, false]);

  const sidecar = container('proxy', { terminated: { exitCode: 143, reason: 'Error' } });
  const withScript = (script: unknown) =>
    failedInit(factsOf({ initContainerStatuses: [sidecar], containerStatuses: [script] }))?.name;
  t.same(
    [withScript(waiting('PodInitializing')), withScript(terminated(0, 'Completed'))],
    ['proxy', undefined],
  );

  const reasons = ['Error', 'ContainerStatusUnknown', 'Unknown'];
  const told = reasons.map((reason) => factsOf({ containerStatuses: [terminated(137, reason)] }).script);
  t.same(
    told.map((script) => script && isExitCodeTrue(script)),
    [true, false, false],
  );

  const times = ['1970-01-01T00:00:00Z', 'soon', null, new Date(5), made.CREATED];
  t.same(times.map(momentOf), [undefined, undefined, undefined, 5, made.atMs(made.CREATED)]);
});

test('the words of the cluster come in one line, without their full stop, shortened', async (t) => {
  t.same([quoted(' a.\n\tb. '), quoted('\n'), inOneLine('abcdef', 4)], [': a. b', '', 'abc…']);
  const quiet = troubleFrom({ facts: podFactsOf({}), events: [] }, { code: 'CLUSTER_OOM', says: 'x' });
  t.same(quiet, { code: 'CLUSTER_OOM', says: 'x', evidence: {}, final: false, sinceMs: 0 });
});
