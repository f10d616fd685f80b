/** Watching a mount: what its evidence leads to, and who is told. What each evidence is worth has its own tests. */
import { createServer } from 'node:net';
import { test } from 'tap';
import { parseMountInfo } from '../../src/mount/mount-info.ts';
import { refusalFor } from '../../src/mount/mount-trust.ts';
import { MountWatch, type MountEvent, type MountWatchOptions } from '../../src/mount/mount-watch.ts';
import { Rounds } from '../../src/mount/rounds.ts';
import { ServerLook } from '../../src/mount/server-look.ts';
import type { Belief, MountLimits } from '../../src/protocol/mount-belief.ts';
import { eventually } from '../harness/eventually.ts';
import { EPOCH, MadeProbes } from './made-probes.ts';

type Test = { teardown: (work: () => unknown) => void };

const LIMITS: MountLimits = {
  probeIntervalMs: 20,
  probeDeadlineMs: 1000,
  staleAfterMs: 100,
  absentAgainMs: 100,
  stallLimitMs: 60_000,
};

interface MadeWatch {
  readonly watch: MountWatch;
  readonly probes: MadeProbes;
  readonly events: MountEvent[];
  readonly beliefs: Belief[];
}

function watchOf(
  t: Test,
  given: Partial<MountWatchOptions> = {},
  limits: Partial<MountLimits> = {},
): MadeWatch {
  const probes = new MadeProbes();
  const events: MountEvent[] = [];
  const watch = new MountWatch({
    probes,
    limits: { ...LIMITS, ...limits },
    serverDeadlineMs: 100,
    owner: 'test',
    maySpawn: () => true,
    observe: (event) => events.push(event),
    ...given,
  });
  const beliefs: Belief[] = [];
  watch.subscribe((belief) => beliefs.push(belief));
  watch.start('/proc');
  t.teardown(() => watch.close());
  return { watch, probes, events, beliefs };
}

const is = (watch: MountWatch, rule: string) => () => watch.belief().rule === rule;

test('a watch trusts a volume as soon as the epoch that was told reads back', async (t) => {
  const { watch, beliefs, events } = watchOf(t);
  t.equal(watch.belief().rule, 'unread');
  watch.expect(EPOCH);
  t.equal((await watch.confirm()).verdict, 'trusted');
  t.equal(watch.epoch(), EPOCH);
  t.same(beliefs, [watch.belief()]);
  t.match(
    events.filter(({ type }) => type === 'epoch'),
    [{ before: undefined, epoch: EPOCH }],
  );
  t.match(watch.view, { epoch: EPOCH, limits: LIMITS, evidence: [{ kind: 'probe' }] });
});

test('a watch that starts with the epoch that was just read trusts from the first moment', async (t) => {
  const { watch } = watchOf(t);
  watch.start('/proc', EPOCH);
  t.equal(watch.belief().verdict, 'trusted');
  await watch.close();
});

test('a watch stalls on a hang, says so to whoever listens, and trusts again alone', async (t) => {
  const { watch, probes, beliefs } = watchOf(t);
  watch.expect(EPOCH);
  await eventually(is(watch, 'reads-back'));
  probes.shows = 'hang';
  await eventually(is(watch, 'missed'));
  probes.shows = { epoch: EPOCH };
  await eventually(is(watch, 'reads-back'));
  // The canary hangs too, which is another rule of the same verdict.
  const verdicts = beliefs.map(({ verdict }) => verdict);
  t.same(
    verdicts.filter((verdict, at) => verdict !== verdicts[at - 1]),
    ['trusted', 'stalled', 'trusted'],
  );
  t.equal(watch.belief().after?.verdict, 'stalled');
});

test('a watch loses a volume that is emptied or replaced, and trusts the next epoch when it is told', async (t) => {
  const { watch, probes } = watchOf(t);
  watch.expect(EPOCH);
  await eventually(is(watch, 'reads-back'));
  probes.shows = { errno: 2 };
  await eventually(is(watch, 'emptied'));
  t.equal(watch.belief().code, 'STORAGE_EMPTIED');
  const other = 'cd'.repeat(16);
  probes.shows = { epoch: other };
  await eventually(is(watch, 'replaced'));
  watch.expect(other);
  await eventually(is(watch, 'reads-back'));
  t.equal(watch.epoch(), other);
});

test('a watch stalls when writing fails, and not for a volume that is full', async (t) => {
  const { watch, probes } = watchOf(t);
  watch.expect(EPOCH);
  probes.canaryErrno = 28;
  await eventually(() => probes.asked.canary > 3);
  t.equal(watch.belief().rule, 'reads-back');
  probes.canaryErrno = 5;
  await eventually(is(watch, 'writes-fail'));
  probes.canaryErrno = undefined;
  await eventually(is(watch, 'reads-back'));
});

test('a watch writes nothing before it knows the epoch, and nothing on a volume that is lost', async (t) => {
  const { watch, probes } = watchOf(t);
  await eventually(() => probes.asked.liveness > 3);
  t.equal(probes.asked.canary, 0);
  watch.expect(EPOCH);
  probes.shows = { errno: 2 };
  await eventually(is(watch, 'emptied'));
  const before = probes.asked.canary;
  const looks = probes.asked.liveness;
  await eventually(() => probes.asked.liveness > looks + 3);
  // One may have been under way.
  t.ok(probes.asked.canary <= before + 1);
});

test('suspect() looks at once instead of after the interval, and decides nothing by itself', async (t) => {
  const { watch, probes } = watchOf(t, {}, { probeIntervalMs: 3_600_000 });
  watch.expect(EPOCH);
  await eventually(is(watch, 'reads-back'));
  const looks = probes.asked.liveness;
  watch.suspect();
  await eventually(() => probes.asked.liveness > looks);
  t.equal(watch.belief().verdict, 'trusted');
});

test('confirm() answers with a look that began after the call', async (t) => {
  const { watch, probes } = watchOf(t, {}, { probeIntervalMs: 3_600_000 });
  watch.expect(EPOCH);
  await eventually(is(watch, 'reads-back'));
  probes.shows = { errno: 2 };
  t.equal((await watch.confirm()).rule, 'unproven');
});

test('adopt() trusts a volume that was just read, and confirm() waits for no look before the first', async (t) => {
  const watch = new MountWatch({
    probes: new MadeProbes(),
    limits: LIMITS,
    ...{ serverDeadlineMs: 100, owner: 'test', maySpawn: () => true, observe: () => undefined },
  });
  t.teardown(() => watch.close());
  watch.adopt(EPOCH);
  t.match(await watch.confirm(), { verdict: 'trusted', rule: 'reads-back' });
});

test('a watch makes another nursery only where a spawn is safe; without one it stalls', async (t) => {
  let maySpawn = false;
  const { watch, probes } = watchOf(t, { maySpawn: () => maySpawn });
  watch.expect(EPOCH);
  await eventually(is(watch, 'reads-back'));
  probes.isUp = false;
  const looks = probes.asked.liveness;
  await eventually(() => probes.asked.liveness > looks + 3);
  t.equal(probes.starts, 0);
  maySpawn = true;
  await eventually(() => probes.starts === 1);
});

test('close() ends the probes and every round, and the belief stays', async (t) => {
  const { watch, probes, beliefs } = watchOf(t);
  watch.expect(EPOCH);
  await eventually(is(watch, 'reads-back'));
  await watch.close();
  t.ok(probes.isClosed);
  const { liveness } = probes.asked;
  probes.shows = { errno: 2 };
  watch.suspect();
  t.equal((await watch.confirm()).verdict, 'trusted');
  t.equal(probes.asked.liveness, liveness);
  t.equal(beliefs.length, 1);
});

test('refusalFor() refuses with code, sentence and time of another try, and only without trust', async (t) => {
  const { watch, probes } = watchOf(t);
  watch.expect(EPOCH);
  await eventually(is(watch, 'reads-back'));
  t.equal(refusalFor(watch.belief(), 7), undefined);
  probes.shows = 'hang';
  await eventually(is(watch, 'missed'));
  const { says } = watch.belief();
  t.match(refusalFor(watch.belief(), 7), {
    code: 'STORAGE_TIMEOUT',
    message: says,
    detail: { verdict: 'stalled', retryAfterSeconds: 7 },
  });
});

test('Rounds never does two at once, and next() waits for one that begins after it', async (t) => {
  let [inside, most, done] = [0, 0, 0];
  const gates: (() => void)[] = [];
  const work = async (): Promise<void> => {
    inside += 1;
    most = Math.max(most, inside);
    await new Promise<void>((resolve) => gates.push(resolve));
    inside -= 1;
    done += 1;
  };
  const rounds = new Rounds({ work, intervalMs: () => 3_600_000 });
  rounds.start();
  await eventually(() => gates.length === 1);
  let seen = -1;
  const next = rounds.next().then(() => (seen = done));
  gates[0]?.();
  await eventually(() => gates.length === 2);
  t.equal(seen, -1);
  gates[1]?.();
  await next;
  t.equal(seen, 2);
  t.equal(most, 1);
  await rounds.close();
  await rounds.next();
});

const NFS = (source: string, options: string) =>
  parseMountInfo(`1 2 0:3 / /v rw - nfs4 ${source} rw,${options}`)[0];

test('ServerLook asks the server of an NFS mount and looks up its name, each in its time', async (t) => {
  const silent = createServer((socket) => socket.resume());
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  t.teardown(() => new Promise((resolve) => silent.close(resolve)));
  const address = silent.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const look = new ServerLook({ owner: 'test', deadlineMs: 200, now: () => 7 });
  const { signal } = new AbortController();
  t.match(await look.look(NFS('localhost:/', `port=${port},addr=127.0.0.1`), signal), [
    { kind: 'server', atMs: 7, address: '127.0.0.1', answer: { is: 'timeout' } },
    { kind: 'address', atMs: 7, name: 'localhost', mounted: '127.0.0.1' },
  ]);
  t.match(await look.look(NFS('127.0.0.1:/', `port=${port},addr=127.0.0.1`), signal), [{ kind: 'server' }]);
});

test('ServerLook says nothing of what is no NFS mount, and no address where a name has none', async (t) => {
  const look = new ServerLook({ owner: 'test', deadlineMs: 5000, now: () => 7 });
  const { signal } = new AbortController();
  t.same(await look.look(undefined, signal), []);
  t.same(await look.look(parseMountInfo('1 2 0:3 / /v rw - ext4 /dev/x rw')[0], signal), []);
  const gone = await look.look(NFS('gone.invalid:/', 'port=1,addr=127.0.0.1'), signal);
  t.match(gone[0], { kind: 'server', answer: { is: 'refused' } });
});
