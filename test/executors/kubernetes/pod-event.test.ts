/** What is said about a pod, as lines of the journal of its script. */
import fc from 'fast-check';
import { test } from 'tap';
import { podEventFrom, podEventLine, podEventsFrom } from '../../../src/executors/kubernetes/pod-event.ts';
import * as made from './made-status.ts';
import { eventOf } from './made-status.ts';

const normal = { type: 'Normal' };
const lineOf = (...args: Parameters<typeof eventOf>) => podEventLine(eventOf(...args));

test('podEventFrom() reads an event of core/v1 and one of events.k8s.io as the same', async (t) => {
  const about = { kind: 'Pod', name: 'ls-a', uid: 'uid-a', fieldPath: 'spec.containers{script}' };
  const said = { type: 'Warning', reason: 'Failed' };
  const core = { involvedObject: about, ...said, message: 'no', count: 3 };
  const events = { regarding: about, ...said, note: 'no' };
  const [first, last] = [made.CREATED, made.ENDED];
  const expected = {
    pod: 'ls-a',
    podUid: 'uid-a',
    field: 'spec.containers{script}',
    warning: true,
    reason: 'Failed',
    message: 'no',
    count: 3,
    firstMs: made.atMs(first),
    lastMs: made.atMs(last),
  };
  t.same(podEventFrom({ ...core, firstTimestamp: first, lastTimestamp: last }), expected);
  const deprecated = { deprecatedFirstTimestamp: first, deprecatedLastTimestamp: last, deprecatedCount: 3 };
  t.same(podEventFrom({ ...events, ...deprecated }), expected);
  const series = { count: 3, lastObservedTime: '2026-11-24T10:01:00.000000Z' };
  t.same(podEventFrom({ ...events, eventTime: '2026-11-24T10:00:00.000000Z', series }), expected);
});

test('podEventFrom() takes nothing that is about no pod', async (t) => {
  const about = { kind: 'Pod', name: 'ls-a' };
  const none = [
    null,
    1,
    {},
    { involvedObject: about },
    { involvedObject: { ...about, kind: 'Node' }, reason: 'x' },
  ];
  t.same(none.map(podEventFrom), [undefined, undefined, undefined, undefined, undefined]);
  t.equal(podEventsFrom({ items: [...none, { involvedObject: about, reason: 'x' }] }).length, 1);
  t.same(podEventsFrom('no list'), []);
});

test('podEventLine() gives a line for every warning, with its first time', async (t) => {
  t.match(lineOf('FailedMount', 'MountVolume.SetUp failed for volume "v" : secret "nosuch" not found'), {
    text: 'FailedMount: MountVolume.SetUp failed for volume "v" : secret "nosuch" not found',
    atMs: made.atMs(made.STARTED),
  });
  t.equal(lineOf('NeverSeenBefore', '')?.text, 'NeverSeenBefore');
});

test('podEventLine() gives a line for where a pod went, for its images and for who takes it away, and for no more', async (t) => {
  const all = ['Scheduled', 'Pulling', 'Pulled', 'Preempted', 'TaintManagerEviction', 'TriggeredScaleUp'];
  const quiet = ['Created', 'Started', 'Killing', 'BackOff', 'SuccessfulAttachVolume'];
  const told = [...all, ...quiet].filter((reason) => lineOf(reason, 'x', normal) !== undefined);
  t.same(told, all);
});

test('podEventLine() keeps the time that a pull took', async (t) => {
  const message = 'Successfully pulled image "x" in 1.204s (3.5s including waiting). Image size: 12 bytes.';
  t.equal(lineOf('Pulled', message, normal)?.text, `Pulled: ${message}`);
});

test('podEventLine() gives a repeated event the same mark, however it is repeated', async (t) => {
  const message = 'dial tcp 10.0.0.1:41234->10.0.0.2:53: no route, attempt 7f3b2c1a9d8e4f50 after 1m2.5s';
  const again = 'dial tcp 10.0.0.1:51235->10.0.0.2:53: no route, attempt 0f3b2c1a9d8e4f51 after 4.25s';
  const marks = [
    lineOf('Failed', message),
    lineOf('Failed', message, { count: 100, lastTimestamp: made.LATER }),
    lineOf('Failed', message, { metadata: { name: 'ls-a.2' } }),
    lineOf('Failed', `(combined from similar events): ${again}`, { count: 9 }),
    lineOf('Failed', again),
  ].map((line) => line?.mark);
  t.equal(new Set(marks).size, 1);
});

test('podEventLine() tells events apart by reason, by what they say and by pod', async (t) => {
  const other = { involvedObject: { kind: 'Pod', name: 'ls-a', uid: 'uid-b' } };
  const marks = [
    lineOf('Failed', 'no such image x:1'),
    lineOf('Failed', 'no such image x:2'),
    lineOf('FailedMount', 'no such image x:1'),
    lineOf('Failed', 'no such image x:1', other),
    lineOf('Scheduled', 'Successfully assigned n/ls-a to node-1', normal),
    lineOf('Scheduled', 'Successfully assigned n/ls-a to node-2', normal),
  ].map((line) => line?.mark);
  t.equal(new Set(marks).size, marks.length);
});

test('podEventFrom() and podEventLine() never fail, and a line is one line of bounded length', async (t) => {
  const about = fc.record({
    kind: fc.constant('Pod'),
    name: fc.string({ minLength: 1 }),
    uid: fc.jsonValue(),
  });
  const event = fc.record({
    involvedObject: about,
    type: fc.constantFrom('Warning', 'Normal'),
    reason: fc.string({ minLength: 1, maxLength: 300 }),
    message: fc.oneof(fc.string({ unit: 'binary', maxLength: 5000 }), fc.jsonValue()),
    count: fc.jsonValue(),
    firstTimestamp: fc.jsonValue(),
    series: fc.jsonValue(),
  });
  fc.assert(
    fc.property(fc.oneof(event, fc.jsonValue()), (value) => {
      const known = podEventFrom(value);
      const line = known && podEventLine(known);
      return (
        line === undefined ||
        (!/[\r\n\0]/.test(line.text) && line.text.length < 2500 && line.mark.length < 100)
      );
    }),
  );
  t.pass();
});
