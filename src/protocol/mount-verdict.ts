import { MOUNT_RULES, silenceMs, type Belief, type MountLimits, type MountRule } from './mount-belief.ts';
import { meaningOfProbe, passTime, record, speechOf, type MountCase } from './mount-case.ts';
import type { Evidence } from './mount-evidence.ts';
import { codeFor, sentenceFor } from './mount-sentence.ts';

/** How many reads of another epoch prove it, and how many good ones end a loss: a cache has shown an old value twice. */
const OTHER_READS = 2;
const GOOD_AFTER_LOSS = 2;
const STALE_PROBES = 3;

/** Returns the evidence for which a rule holds now, or undefined where it does not. */
type Holds = (now: MountCase, limits: MountLimits) => readonly Evidence[] | undefined;

/** The rules of loss, the most telling first. */
const LOSSES: readonly (readonly [MountRule, Holds])[] = [
  [
    'replaced',
    ({ doubts: { others } }) => (others && others.count >= OTHER_READS ? ends(others) : undefined),
  ],
  ['emptied', emptied],
  ['stale', stale],
  ['elsewhere', elsewhere],
  ['limit', overLimit],
];

const DOUBTS: readonly (readonly [MountRule, Holds])[] = [
  ['unread', ({ expected }) => (expected === undefined ? [] : undefined)],
  ['missed', (now) => doubted(now, ['missed'])],
  ['error', (now) => doubted(now, ['stale', 'error'])],
  ['unproven', (now) => doubted(now, ['other', 'absent', 'empty'])],
  [
    'silence',
    ({ steppedAtMs, reportedAtMs }, limits) =>
      steppedAtMs - reportedAtMs >= silenceMs(limits) ? [] : undefined,
  ],
  ['writes-fail', ({ writes }) => (writes === undefined ? undefined : [writes])],
];

/** Opens a case at `atMs`: trusted with an epoch that was just read or written, stalled until one is expected. */
export function openCase({ atMs, epoch }: { atMs: number; epoch?: string | undefined }): MountCase {
  const rule = epoch === undefined ? 'unread' : 'reads-back';
  const { verdict } = MOUNT_RULES[rule];
  const first: Belief = { verdict, rule, code: null, says: '', sinceMs: atMs, after: null, evidence: [] };
  const opened: MountCase = {
    belief: first,
    expected: epoch,
    steppedAtMs: atMs,
    reportedAtMs: atMs,
    goodAtMs: atMs,
    goodInARow: 0,
    doubts: {},
    bootId: undefined,
    nameProves: true,
    address: undefined,
    writes: undefined,
  };
  return { ...opened, belief: { ...first, code: codeFor(rule, opened), says: sentenceFor(rule, opened) } };
}

/** Weighs one piece of evidence, in the order in which it came, and says what is believed then. */
export function weigh(before: MountCase, evidence: Evidence, limits: MountLimits): MountCase {
  const then = record(passTime(before, evidence.atMs, limits), evidence);
  return { ...then, belief: judge(before, then, limits) };
}

/**
 * Lets time pass without evidence. Call it every second or so: of a longer pause than `silenceMs`, only so much counts.
 *
 * Time alone leads to stalled after `silenceMs`, and to lost after `stallLimitMs` where a probe spoke against the mount.
 */
export function elapse(before: MountCase, atMs: number, limits: MountLimits): MountCase {
  const then = passTime(before, atMs, limits);
  return { ...then, belief: judge(before, then, limits) };
}

/**
 * Tells the machine which epoch to expect from now on: the one that the agent has found at its start, or has made or
 * adopted after a loss. The verdict stays until the volume reads it back.
 */
export function expectEpoch(before: MountCase, epoch: string): MountCase {
  if (before.expected === epoch) return before;
  return { ...before, expected: epoch, goodInARow: 0, doubts: {} };
}

function judge(before: MountCase, now: MountCase, limits: MountLimits): Belief {
  const { belief } = before;
  const loss = firstOf(LOSSES, now, limits);
  if (belief.verdict === 'lost') {
    // A proof sharpens a loss by the limit; the limit adds nothing to a proof.
    if (loss !== undefined && loss.rule !== 'limit') return believed(belief, now, loss);
    if (now.goodInARow < GOOD_AFTER_LOSS || now.expected === undefined) return belief;
  } else if (loss !== undefined) {
    return believed(belief, now, loss);
  }
  const doubt = firstOf(DOUBTS, now, limits);
  return believed(belief, now, doubt ?? { rule: 'reads-back', evidence: [] });
}

function firstOf(rules: typeof LOSSES, now: MountCase, limits: MountLimits): Reason | undefined {
  for (const [rule, holds] of rules) {
    const evidence = holds(now, limits);
    if (evidence !== undefined) return { rule, evidence };
  }
  return undefined;
}

interface Reason {
  readonly rule: MountRule;
  readonly evidence: readonly Evidence[];
}

function believed(before: Belief, now: MountCase, { rule, evidence }: Reason): Belief {
  const code = codeFor(rule, now);
  if (before.rule === rule && before.code === code) return before;
  const { verdict } = MOUNT_RULES[rule];
  const says = sentenceFor(rule, now);
  const same = before.verdict === verdict;
  return {
    verdict,
    rule,
    code,
    says,
    evidence,
    sinceMs: same ? before.sinceMs : now.steppedAtMs,
    after: same ? before.after : { verdict: before.verdict, lastedMs: now.steppedAtMs - before.sinceMs },
  };
}

function emptied({ doubts: { absents } }: MountCase, { absentAgainMs }: MountLimits) {
  return absents && spanOf(absents) >= absentAgainMs ? ends(absents) : undefined;
}

function stale({ doubts: { stales, server } }: MountCase, { staleAfterMs }: MountLimits) {
  if (!stales || !server || speechOf(server) !== 'speaks') return undefined;
  const proved = stales.count >= STALE_PROBES && spanOf(stales) >= staleAfterMs;
  return proved ? [...ends(stales), server] : undefined;
}

function elsewhere({ doubts, nameProves }: MountCase, { absentAgainMs }: MountLimits) {
  const { elsewhere: moves, server, probe } = doubts;
  if (!moves || !server || !probe || !nameProves || speechOf(server) !== 'silent') return undefined;
  return spanOf(moves) >= absentAgainMs ? [moves.first, moves.last, server, probe] : undefined;
}

function overLimit({ steppedAtMs, goodAtMs, doubts: { probe, server } }: MountCase, limits: MountLimits) {
  // Silence alone is no reason to give data up: it is the watcher that is not heard, not the volume.
  if (steppedAtMs - goodAtMs < limits.stallLimitMs || probe === undefined) return undefined;
  return [probe, server].filter((seen) => seen !== undefined);
}

function doubted({ doubts: { probe }, expected }: MountCase, meanings: readonly string[]) {
  return probe && meanings.includes(meaningOfProbe(probe, expected).is) ? [probe] : undefined;
}

function spanOf({ first, last }: { first: Evidence; last: Evidence }): number {
  return last.atMs - first.atMs;
}

function ends({ first, last }: { first: Evidence; last: Evidence }): readonly Evidence[] {
  return [first, last];
}
