/** What holds of the verdict for every sequence of evidence, not only for those that somebody has seen. */
import fc from 'fast-check';
import { test } from 'tap';
import { silenceMs } from '../../src/protocol/mount-belief.ts';
import { meaningOfProbe, type MountCase } from '../../src/protocol/mount-case.ts';
import type { Evidence, ProbeSeen } from '../../src/protocol/mount-evidence.ts';
import { elapse, openCase, weigh } from '../../src/protocol/mount-verdict.ts';
import {
  booted,
  canary,
  errno,
  limits,
  look,
  mounted,
  ours,
  probe,
  resolved,
  silent,
  type Look,
} from './made-evidence.ts';

const looks = Object.keys(look) as Look[];

/** Evidence at a time that is set when it is played. */
const aLook = (...names: readonly Look[]): fc.Arbitrary<Evidence> =>
  fc.constantFrom(...names).map((name) => probe(0, name));
const aServer: fc.Arbitrary<Evidence> = fc.oneof(
  fc.constantFrom('boot-1', 'boot-2').map((id) => booted(0, id)),
  fc.constantFrom('timeout', 'refused', 'denied', 'unsupported', 'garbled').map((how) => silent(0, how)),
);
const aCanary: fc.Arbitrary<Evidence> = fc
  .constantFrom({ is: 'ok' } as const, { is: 'missed', afterMs: 9 } as const, errno('EIO'), errno('EROFS'))
  .map((answer) => canary(0, answer));
const anAddress = (...addresses: readonly string[][]): fc.Arbitrary<Evidence> =>
  fc.constantFrom(...addresses).map((some) => resolved(0, ...some));

interface Step {
  readonly afterMs: number;
  readonly evidence: Evidence;
}

function steps(evidence: fc.Arbitrary<Evidence>, maxLength: number): fc.Arbitrary<Step[]> {
  return fc.array(fc.record({ afterMs: fc.integer({ min: 0, max: 15_000 }), evidence }), { maxLength });
}

interface Played {
  readonly now: MountCase;
  /** After the step, at its time. */
  readonly all: readonly { readonly now: MountCase; readonly evidence: Evidence | undefined }[];
}

/** Plays steps one after the other; a second without evidence is a step of its own. */
function run(sequence: readonly Step[], from: MountCase = openCase({ atMs: 0, epoch: ours })): Played {
  let now = from;
  const all: { now: MountCase; evidence: Evidence | undefined }[] = [];
  const wait = (untilMs: number): void => {
    while (now.steppedAtMs + 1000 < untilMs) {
      now = elapse(now, now.steppedAtMs + 1000, limits);
      all.push({ now, evidence: undefined });
    }
  };
  for (const { afterMs, evidence } of sequence) {
    const atMs = now.steppedAtMs + afterMs;
    wait(atMs);
    const timed = { ...evidence, atMs };
    now = weigh(now, timed, limits);
    all.push({ now, evidence: timed });
  }
  return { now, all };
}

/** Adds good reads, so that there is never none for `everyMs`, which is longer than a step. */
function readingBack(sequence: readonly Step[], everyMs: number): Step[] {
  let goodBeforeMs = 0;
  return sequence.flatMap((step) => {
    const isLate = goodBeforeMs + step.afterMs >= everyMs;
    goodBeforeMs = (isLate ? 0 : goodBeforeMs) + step.afterMs;
    return isLate ? [{ afterMs: 0, evidence: probe(0, 'good') }, step] : [step];
  });
}

function neverLost(sequence: readonly Step[]): boolean {
  return run(sequence).all.every(({ now }) => now.belief.verdict !== 'lost');
}

const harmless = looks.filter(
  (name) => !['other', 'gone', 'stale', 'staleRoot', 'staleEpoch'].includes(name),
);

test('no sequence in which the epoch reads back unchanged within the limit is a loss', async () => {
  const anything = fc.oneof(
    { weight: 3, arbitrary: aLook(...harmless) },
    aServer,
    aCanary,
    anAddress([], [mounted], [mounted, '10.0.0.2']),
  );
  const property = fc.property(steps(anything, 120), (sequence) =>
    neverLost(readingBack(sequence, limits.stallLimitMs)),
  );
  fc.assert(property, { numRuns: 400 });
});

test('ESTALE that is shorter than its time is no loss, whatever the server says', async () => {
  const anything = fc.oneof(
    { weight: 3, arbitrary: aLook(...harmless, 'stale', 'staleRoot', 'staleEpoch') },
    aServer,
  );
  const property = fc.property(steps(anything, 120), (sequence) =>
    neverLost(readingBack(sequence, limits.staleAfterMs)),
  );
  fc.assert(property, { numRuns: 400 });
});

test('a name with changing addresses is no loss once it has changed under a mount that works', async () => {
  const anything = fc.oneof({ weight: 3, arbitrary: aLook('stuck', 'eio', 'empty') }, aServer, {
    weight: 2,
    arbitrary: anAddress(['10.0.0.2'], ['10.0.0.3'], []),
  });
  const changed: readonly Step[] = [resolved(0, '10.0.0.2'), probe(0, 'good')].map((evidence) => ({
    afterMs: 0,
    evidence,
  }));
  const property = fc.property(steps(anything, 120), (sequence) =>
    neverLost([...changed, ...readingBack(sequence, limits.stallLimitMs)]),
  );
  fc.assert(property, { numRuns: 200 });
});

const whatever = fc.oneof(
  { weight: 4, arbitrary: aLook(...looks) },
  aServer,
  aCanary,
  anAddress([], [mounted], ['10.0.0.2']),
);
const withoutGood = fc.oneof(
  { weight: 4, arbitrary: aLook(...looks.filter((name) => name !== 'good')) },
  aServer,
  aCanary,
  anAddress([], [mounted], ['10.0.0.2']),
);

test('every sequence in which the epoch does not read back is a loss by the limit, whatever came before', async () => {
  const property = fc.property(steps(whatever, 60), steps(withoutGood, 200), (prefix, rest) => {
    const before = run([...prefix, { afterMs: 0, evidence: probe(0, 'good') }]).now;
    const after = run(rest, before).all;
    const late = after.find(({ now }) => now.steppedAtMs - before.steppedAtMs >= limits.stallLimitMs);
    return late === undefined || late.now.belief.verdict === 'lost';
  });
  fc.assert(property, { numRuns: 400 });
});

test('every sequence with two looks that find no epoch, or another, is a loss at the second', async () => {
  const property = fc.property(
    steps(whatever, 60),
    fc.constantFrom<Look>('gone', 'other'),
    steps(withoutGood, 3),
    (prefix, name, between) => {
      const first = run([...prefix, { afterMs: 0, evidence: probe(0, name) }], undefined).now;
      const then = run([...between, { afterMs: limits.absentAgainMs, evidence: probe(0, name) }], first).now;
      return then.belief.verdict === 'lost';
    },
  );
  fc.assert(property, { numRuns: 400 });
});

test('no verdict stands without its evidence, by the whole history of any sequence', async () => {
  const property = fc.property(steps(whatever, 120), (sequence) => {
    const history: ProbeSeen[] = [];
    let before = openCase({ atMs: 0, epoch: ours });
    return run(sequence).all.every(({ now, evidence }) => {
      if (evidence?.kind === 'probe') history.push(evidence);
      const sound = isSound(before, now, history);
      before = now;
      return sound;
    });
  });
  fc.assert(property, { numRuns: 400 });
});

/** The rules once more, from the history alone: what must be in it when a belief begins. */
function isSound(before: MountCase, now: MountCase, history: readonly ProbeSeen[]): boolean {
  const { verdict, rule } = now.belief;
  const meanings = history.map((seen) => ({ ...seen, is: meaningOfProbe(seen, ours).is }));
  const lastGood = meanings.findLastIndex(({ is }) => is === 'good');
  const since = meanings.slice(lastGood + 1);
  const goodAtMs = meanings[lastGood]?.atMs ?? 0;
  if (verdict === 'trusted') {
    const returned = before.belief.verdict === 'lost' ? meanings.at(-2)?.is === 'good' : true;
    return since.length === 0 && returned && now.steppedAtMs - goodAtMs < silenceMs(limits);
  }
  if (verdict !== 'lost' || before.belief === now.belief) return true;
  const times = (is: string) => since.filter((one) => one.is === is).map(({ atMs }) => atMs);
  const span = (some: readonly number[]) => (some.at(-1) ?? 0) - (some[0] ?? 0);
  if (rule === 'replaced') return times('other').length >= 2;
  if (rule === 'emptied') return span(times('absent')) >= limits.absentAgainMs;
  if (rule === 'limit') return now.steppedAtMs - goodAtMs >= limits.stallLimitMs;
  if (rule === 'elsewhere') return since.length > 0;
  const run = since.slice(since.findLastIndex(({ is }) => is !== 'stale') + 1).map(({ atMs }) => atMs);
  return rule === 'stale' && run.length >= 3 && span(run) >= limits.staleAfterMs;
}

/** A pseudo-random number below `bound` with a period far beyond a day of looks. Source: Marsaglia's xorshift32. */
function dice(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % bound;
  };
}

/** One day of looks every five seconds, with stalls of up to 80 s that begin at random. */
function day(seed: number): { stalls: number; longestMs: number; verdicts: Record<string, number> } {
  const roll = dice(seed);
  const verdicts: Record<string, number> = { trusted: 0, stalled: 0, lost: 0 };
  let now = openCase({ atMs: 0, epoch: ours });
  let stalls = 0;
  let longestMs = 0;
  let boots = 0;
  let until = 0;
  for (let atMs = 5000; atMs < 86_400_000; atMs += 5000) {
    // One good look between two stalls, or they are one that is longer than its limit.
    if (atMs > until + 5000 && roll(100) === 0) {
      until = atMs + roll(80_000);
      stalls += 1;
      boots += roll(2);
    }
    const away = atMs < until;
    const said = away
      ? (['stuck', 'eio', 'stale', 'eacces', 'unexported', 'halfStuck'] as const)[roll(6)]
      : 'good';
    now = weigh(now, { ...probe(0, said ?? 'good'), atMs }, limits);
    const server = away && roll(2) === 0 ? silent(0, 'refused') : booted(0, `boot-${boots}`);
    now = weigh(now, { ...server, atMs: atMs + 1 }, limits);
    const { verdict, after } = now.belief;
    verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
    if (verdict === 'trusted') longestMs = Math.max(longestMs, after?.lastedMs ?? 0);
  }
  return { stalls, longestMs, verdicts };
}

test('24 hours of random short stalls and restarts are no loss, and the mount is trusted after each', async (t) => {
  for (const seed of [1, 2026, 77_777]) {
    const { stalls, longestMs, verdicts } = day(seed);
    t.equal(verdicts['lost'], 0);
    t.ok(stalls > 50, `${stalls} stalls`);
    t.ok(longestMs > 60_000 && longestMs <= 85_000, `the longest of ${longestMs} ms`);
    t.ok((verdicts['trusted'] ?? 0) > (verdicts['stalled'] ?? 0));
  }
});
