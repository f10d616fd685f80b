import { test, type Test } from 'tap';
import { KEPT_MAX_BYTES, type Executor, type Sighting, type Witness } from '../../src/executors/executor.ts';
import type { RunOrder, StartedClaim } from '../../src/protocol/run-order.ts';
import { eventually } from '../harness/eventually.ts';
import { decode, must, streamOf, until, type Decoded } from '../runner/staged-script.ts';

/** A workspace that is ready to be run, and what can be seen of its run from the volume. */
export interface Published {
  readonly order: RunOrder;
  /** Key of the journal. */
  readonly key: Buffer;
  /** What `out/started` says; undefined where there is none. */
  readonly claim: () => StartedClaim | undefined;
  /** How often the script has run. */
  readonly runs: () => number;
}

/** Where executors are tried: every `agent` is a new one, on the same volume and the same machine or cluster. */
export interface ExecutorGround {
  readonly agent: () => Executor | Promise<Executor>;
  /** `script` is bash; what it does first counts its runs. */
  readonly publish: (script: string, changes?: Partial<RunOrder>) => Published;
  /** Publishes a workspace on which no runner can make its claim. */
  readonly publishBroken: () => Published;
}

/** A pod takes its time on a machine that is busy. */
const GONE_MS = 40_000;

/** Runs everything that src/executors/executor.ts promises on one implementation. */
export function executorSuite(
  name: string,
  ground: (t: Test) => ExecutorGround | Promise<ExecutorGround>,
): void {
  const promises: Record<string, (t: Test, ground: ExecutorGround) => Promise<void>> = {
    'launch() hands an order over, and look() tells how the runner ended': runsToItsEnd,
    'invariant 3: launched again and again, from two agents at once, a script runs once': runsOnce,
    'an agent that did not launch it sees a runner by its claim, alive and gone': isAdopted,
    'witness() reads what the runner writes at any place, for any agent': hasWitness,
    'watch() tells of output and of the end, to the agent that launched and to another': isWatched,
    'watch() begun before the launch misses nothing': isWatchedFromBefore,
    'watch() tells nothing after its signal has aborted': isNotWatchedAnyMore,
    'stop() lets the runner end its script and write its record': isStopped,
    'clear() ends the runner and whatever carries the cookie, and may be repeated': isCleared,
    'a runner that dies before its claim is gone, and its last words can be read': diesEarly,
    'remove() forgets a script, and may be repeated': isRemoved,
    'close() lets runners run': outlivesItsAgent,
    'keep holds the last text of a script for any agent, until it is forgotten': keeps,
  };
  for (const [promise, keep] of Object.entries(promises)) {
    test(`${name}: ${promise}`, async (t) => {
      // Runners do not keep an agent up; this test waits for them.
      const awake = setInterval(() => undefined, 1000);
      t.teardown(() => clearInterval(awake));
      await keep(t, await ground(t));
    });
  }
}

async function runsToItsEnd(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const executor = await agent();
  const { order, key, claim } = publish('echo out; exit 3');
  t.same(await executor.look(order.key, undefined), { presence: 'none' });
  await executor.launch(order);
  t.same(await gone(executor, order, claim), { presence: 'gone', exitCode: 0, signal: null });
  const found = await read(executor, order, claim(), key);
  t.match(found.end, { exitCode: 3 });
  t.equal(streamOf(found, 'stdout').toString(), 'out\n');
}

async function runsOnce(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const agents = [await agent(), await agent()];
  const { order, claim, runs } = publish('sleep 0.2');
  await Promise.all(agents.flatMap((executor) => [executor.launch(order), executor.launch(order)]));
  for (const executor of agents) await gone(executor, order, claim);
  for (const executor of agents) await executor.launch(order);
  for (const executor of agents) await gone(executor, order, () => undefined);
  t.equal(runs(), 1);
}

async function isAdopted(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const { order, claim } = publish('sleep 60');
  await (await agent()).launch(order);
  const mine = await until('the claim', claim);
  const next = await agent();
  t.same(await next.look(order.key, mine), { presence: 'alive' });
  t.equal(await next.stop(order.key, mine), true);
  t.match(await gone(next, order, claim), { presence: 'gone' });
  t.equal(await next.stop(order.key, mine), false, 'there is none to ask any more');
}

async function hasWitness(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const { order, key, claim } = publish('seq 1 5000');
  const first = await agent();
  await first.launch(order);
  await gone(first, order, claim);
  for (const executor of [first, await agent()]) {
    const found = await read(executor, order, claim(), key);
    t.equal(streamOf(found, 'stdout').toString().split('\n').length, 5001);
    const witness = must(await executor.witness(order.key, claim()));
    const size = await witness.size();
    t.equal((await witness.readAt(size - 10, 100)).length, 10, 'fewer at the end');
    t.equal((await witness.readAt(size + 10, 100)).length, 0);
    t.equal(String(await witness.readAt(0, 4)), 'LS1 ');
    await witness.close();
  }
}

async function isWatched(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const { order, key, claim } = publish('echo one; read -r line < <(sleep 0.6; echo); echo two');
  const first = await agent();
  await first.launch(order);
  const mine = await until('the claim', claim);
  for (const executor of [first, await agent()]) {
    let told = 0;
    executor.watch(order.key, mine, { changed: () => (told += 1), signal: new AbortController().signal });
    if (executor !== first) continue;
    await until('output', () => told > 0);
  }
  const second = await agent();
  const sightings: Sighting[] = [];
  second.watch(order.key, mine, {
    changed: () => void second.look(order.key, mine).then((sighting) => sightings.push(sighting)),
    signal: new AbortController().signal,
  });
  await until('the end', () => sightings.at(-1)?.presence === 'gone');
  t.equal(streamOf(await read(second, order, mine, key), 'stdout').toString(), 'one\ntwo\n');
}

async function isWatchedFromBefore(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const { order, claim } = publish('echo out');
  const executor = await agent();
  const sizes: number[] = [];
  const signal = new AbortController().signal;
  const look = async (): Promise<void> => {
    const witness = await executor.witness(order.key, claim());
    sizes.push((await witness?.size()) ?? 0);
    await witness?.close();
  };
  let isGone = false;
  const changed = (): void => {
    void look();
    void executor.look(order.key, claim()).then(({ presence }) => (isGone ||= presence === 'gone'));
  };
  executor.watch(order.key, undefined, { changed, signal });
  await executor.launch(order);
  await until('output and end', () => isGone && sizes.some((size) => size > 0));
  t.pass();
}

async function isNotWatchedAnyMore(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const { order, claim } = publish('echo out');
  const executor = await agent();
  const over = new AbortController();
  over.abort();
  executor.watch(order.key, undefined, { changed: () => t.fail('told'), signal: over.signal });
  const later = new AbortController();
  executor.watch(order.key, undefined, {
    changed: () => later.signal.aborted && t.fail('told'),
    signal: later.signal,
  });
  later.abort();
  await executor.launch(order);
  await gone(executor, order, claim);
  t.pass();
}

async function isStopped(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const { order, key, claim } = publish(
    'trap "echo bye; exit 9" TERM; echo ready; while :; do sleep 0.05; done',
  );
  const executor = await agent();
  t.equal(await executor.stop(order.key, undefined), false, 'there is none to ask');
  await executor.launch(order);
  await until('the claim', claim);
  await wrote(executor, order, claim(), key, 'ready');
  t.equal(await executor.stop(order.key, claim()), true);
  await gone(executor, order, claim);
  const found = await read(executor, order, claim(), key);
  t.match(found.end, { exitCode: 9, stoppedBy: 'signal' });
  t.equal(streamOf(found, 'stdout').toString(), 'ready\nbye\n');
}

async function isCleared(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const { order, key, claim } = publish(
    `trap '' TERM; setsid sleep 60 >/dev/null 2>&1 & echo ready; sleep 60`,
  );
  await (await agent()).launch(order);
  await until('the claim', claim);
  const executor = await agent();
  await wrote(executor, order, claim(), key, 'ready');
  await executor.clear(order.key, claim(), order.cookie);
  t.match(await executor.look(order.key, claim()), { presence: 'gone' });
  await executor.clear(order.key, claim(), order.cookie);
  t.equal((await read(executor, order, claim(), key)).end, undefined, 'by force: there is no record');
  const nobody = publish('true').order;
  await executor.clear(nobody.key, undefined, nobody.cookie);
}

async function diesEarly(t: Test, { agent, publishBroken }: ExecutorGround): Promise<void> {
  const { order, key } = publishBroken();
  const executor = await agent();
  await executor.launch(order);
  const end = await gone(executor, order, () => undefined);
  t.match(end, { presence: 'gone', exitCode: 70, signal: null });
  const found = await read(executor, order, undefined, key);
  t.match(found.strays.join('\n'), /longshore runner: STORAGE_/);
  t.same(found.frames, []);
}

async function isRemoved(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const { order, claim } = publish('echo out');
  const first = await agent();
  await first.launch(order);
  await gone(first, order, claim);
  const executor = await agent();
  await executor.remove(order.key, claim());
  await executor.remove(order.key, claim());
  await first.remove(order.key, claim());
  for (const each of [first, executor]) {
    t.equal(await each.witness(order.key, claim()), undefined);
    t.same(await each.look(order.key, undefined), { presence: 'none' });
  }
}

async function outlivesItsAgent(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const { order, key, claim } = publish('echo ready; sleep 0.5; echo over');
  const first = await agent();
  await first.launch(order);
  await first.close();
  const next = await agent();
  await until('the claim', claim);
  await gone(next, order, claim);
  t.match((await read(next, order, claim(), key)).end, { exitCode: 0, stoppedBy: null });
}

/** Waits until the runner of an order is gone. */
async function gone(
  executor: Executor,
  { key }: RunOrder,
  claim: () => StartedClaim | undefined,
): Promise<Sighting> {
  let sighting = await executor.look(key, claim());
  await eventually(async () => {
    sighting = await executor.look(key, claim());
    return sighting.presence === 'gone';
  }, GONE_MS);
  return sighting;
}

/** Waits until the script has written `word` as a line. */
async function wrote(
  executor: Executor,
  order: RunOrder,
  claim: StartedClaim | undefined,
  ...[key, word]: [key: Buffer, word: string]
): Promise<void> {
  await eventually(async () => {
    // A cluster tells of a pod that runs a moment after the pod itself has claimed.
    const witness = await executor.witness(order.key, claim);
    const found = witness && (await decoded(witness, key));
    return found?.pieces.some(({ bytes }) => String(bytes) === word) ?? false;
  }, GONE_MS);
}

async function read(
  executor: Executor,
  order: RunOrder,
  claim: StartedClaim | undefined,
  key: Buffer,
): Promise<Decoded> {
  return decoded(must(await executor.witness(order.key, claim)), key);
}

async function decoded(witness: Witness, key: Buffer): Promise<Decoded> {
  try {
    return decode(await witness.readAt(0, await witness.size()), key);
  } finally {
    await witness.close();
  }
}

async function keeps(t: Test, { agent, publish }: ExecutorGround): Promise<void> {
  const { key } = publish('true').order;
  const first = await agent();
  await first.keep.put(key, 'one');
  const long = `two\n${'x'.repeat(KEPT_MAX_BYTES - 4)}`;
  await first.keep.put(key, long);
  const second = await agent();
  t.equal((await second.keep.all()).get(key), long);
  for (const executor of [second, first]) await executor.keep.forget(key);
  t.equal((await first.keep.all()).has(key), false);
}
