/** Whether an API server that says nothing has nothing to say, and what is told of scripts when it is away. */
import { test } from 'tap';
import { launchTroubleIn } from '../../../src/executors/kubernetes/server-doubt.ts';
import { ServerPulse } from '../../../src/executors/kubernetes/server-pulse.ts';
import type { Trouble } from '../../../src/executors/executor.ts';
import { eventually } from '../../harness/eventually.ts';

type Test = { teardown: (work: () => unknown) => void };

/** An API server that was heard long ago, and what was asked of it. */
interface Quiet {
  readonly pulse: ServerPulse;
  heardMs: number;
  /** What a question meets. */
  error: Error | undefined;
  asked: number;
  lost: number;
}

function quiet(t: Test, given: { heardMs: number; error?: Error }): Quiet {
  const pulse = new ServerPulse({
    ask: () => {
      all.asked += 1;
      return all.error ? Promise.reject(all.error) : Promise.resolve();
    },
    heardMs: () => all.heardMs,
    everyMs: 20,
    lost: () => (all.lost += 1),
  });
  const all: Quiet = { pulse, asked: 0, lost: 0, error: undefined, ...given };
  t.teardown(() => pulse.close());
  return all;
}

test('ServerPulse asks one that is quiet, and tells once that it does not answer', async (t) => {
  const all = quiet(t, { heardMs: 1 });
  await eventually(() => all.asked > 2);
  t.equal(all.pulse.failure, undefined);
  all.error = new Error('nothing after 300 ms');
  await eventually(() => all.pulse.failure !== undefined);
  const { sinceMs } = all.pulse.failure ?? {};
  const asked = all.asked;
  await eventually(() => all.asked > asked + 1);
  t.match(all.pulse.failure, { sinceMs, error: all.error }, 'since the first question that met it');
  t.equal(all.lost, 1);
  all.error = undefined;
  await eventually(() => all.pulse.failure === undefined);
});

test('ServerPulse asks nobody who speaks, and nobody who never spoke', async (t) => {
  const never = quiet(t, { heardMs: 0, error: new Error('away') });
  const speaks = quiet(t, { heardMs: Date.now() + 3_600_000, error: new Error('away') });
  const silent = quiet(t, { heardMs: 1, error: new Error('away') });
  await eventually(() => silent.asked > 3);
  t.same([never.asked, speaks.asked], [0, 0]);
  silent.heardMs = Date.now() + 3_600_000;
  t.equal(silent.pulse.failure, undefined, 'whoever is heard again is there');
});

test('ServerPulse ends while it waits for an answer', async (t) => {
  let asked = false;
  const pulse = new ServerPulse({
    ask: async (signal) => {
      asked = true;
      await new Promise((_, reject) =>
        signal.addEventListener('abort', () => reject(new Error('it was closed'))),
      );
    },
    ...{ heardMs: () => 1, everyMs: 1, lost: () => t.fail('nobody is lost who was not waited for') },
  });
  await eventually(() => asked);
  await pulse.close();
});

test('launchTroubleIn() says since when the API server is away and what was met', async (t) => {
  const cause = new Error('connect ECONNREFUSED 10.0.0.1:6443');
  const error = new Error('the API server did not answer a watch of pods', { cause });
  const doubt = { sinceMs: 60_000, heardMs: 30_000, error };
  const met = `${error.message}: ${cause.message}`;
  t.same(launchTroubleIn(doubt, undefined, 65_000), {
    code: 'CLUSTER_UNREACHABLE',
    says: `since 1970-01-01T00:01:00.000Z the API server does not say what becomes of the pod: ${met}`,
    evidence: { since: '1970-01-01T00:01:00.000Z', met, lastHeard: '1970-01-01T00:00:30.000Z' },
    final: false,
    sinceMs: 60_000,
  });
  t.match(launchTroubleIn({ ...doubt, heardMs: 0 }, undefined, 65_000), { evidence: { lastHeard: null } });
});

test('launchTroubleIn() keeps what was seen before: for some moments, and for ever where it was final', async (t) => {
  const seen: Trouble = {
    ...{ code: 'CLUSTER_UNSCHEDULABLE', says: 'no node takes the pod', evidence: {} },
    ...{ final: false, sinceMs: 0 },
  };
  const doubt = { sinceMs: 60_000, heardMs: 0, error: new Error('away') };
  t.equal(launchTroubleIn(doubt, seen, 64_000), seen);
  t.match(launchTroubleIn(doubt, seen, 65_000), {
    code: 'CLUSTER_UNREACHABLE',
    evidence: { lastSeen: { code: 'CLUSTER_UNSCHEDULABLE', says: 'no node takes the pod' } },
  });
  const final = { ...seen, final: true };
  t.equal(launchTroubleIn(doubt, final, 1e9), final);
});
