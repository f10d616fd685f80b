/** How long the stretches of a pod's way took. */
import fc from 'fast-check';
import { test } from 'tap';
import { podPhasesOf, secondsOf } from '../../../src/executors/kubernetes/pod-phase.ts';
import * as made from './made-status.ts';
import { condition, eventOf, podWith, running, terminated } from './made-status.ts';

const at = (seconds: number): string => new Date(made.atMs(made.CREATED) + seconds * 1000).toISOString();
const reached = (type: string, seconds: number) =>
  condition(type, 'True', { lastTransitionTime: at(seconds) });
const pulled = (message: string, seconds: number) =>
  eventOf('Pulled', message, {
    type: 'Normal',
    involvedObject: { kind: 'Pod', name: 'ls-a', uid: 'uid-a', fieldPath: 'spec.containers{script}' },
    firstTimestamp: at(seconds),
    lastTimestamp: at(seconds),
  });

test('podPhasesOf() tells each stretch since the one before it', async (t) => {
  const conditions = [reached('PodScheduled', 1), reached('Initialized', 2)];
  const pod = podWith({ conditions, containerStatuses: [terminated(0, 'Completed')] });
  const pull = pulled(
    'Successfully pulled image "x" in 1.5s (1.75s including waiting). Image size: 9 bytes.',
    4,
  );
  t.same(podPhasesOf(pod, [pull]), [
    { phase: 'scheduled', seconds: 1 },
    { phase: 'initialized', seconds: 1 },
    { phase: 'pulled', seconds: 1.75 },
    { phase: 'started', seconds: 1 },
    { phase: 'ended', seconds: 55 },
  ]);
});

test('podPhasesOf() tells as much as is known', async (t) => {
  t.same(podPhasesOf(podWith({}), []), []);
  t.same(podPhasesOf(podWith({ conditions: [condition('PodScheduled', 'False')] }), []), []);
  t.same(podPhasesOf(podWith({ containerStatuses: [running] }), []), [{ phase: 'started', seconds: 5 }]);
});

test('podPhasesOf() counts no pull of an image that the node had, nor of another container or pod', async (t) => {
  const pod = podWith({ containerStatuses: [running] });
  const own = pulled('Container image "x" already present on machine', 2);
  const other = { ...pulled('Successfully pulled image "y" in 9s', 3), field: 'spec.initContainers{runner}' };
  const earlier = { ...pulled('Successfully pulled image "x" in 9s', 3), podUid: 'uid-b' };
  t.same(podPhasesOf(pod, [own, other, earlier]), [
    { phase: 'pulled', seconds: 0 },
    { phase: 'started', seconds: 3 },
  ]);
});

test('podPhasesOf() never tells less than nothing, whatever the clocks', async (t) => {
  const second = fc.integer({ min: -100, max: 100 });
  fc.assert(
    fc.property(second, second, second, (scheduled, started, finished) => {
      const conditions = [reached('PodScheduled', scheduled)];
      const status = terminated(0, 'Completed', { startedAt: at(started), finishedAt: at(finished) });
      const phases = podPhasesOf(podWith({ conditions, containerStatuses: [status] }), []);
      return phases.length === 3 && phases.every(({ seconds }) => seconds >= 0);
    }),
  );
  t.pass();
});

test('secondsOf() reads a duration as Go writes it', async (t) => {
  const read = ['1.5s', '250ms', '1m2.5s', '1h0m1s', '12µs', '0s'].map(secondsOf);
  t.same(read, [1.5, 0.25, 62.5, 3601, 0.000012, 0]);
  t.same(['', 's', '1', '1.s', '-1s', '1s!', '1d'].map(secondsOf), Array(7).fill(undefined));
});
