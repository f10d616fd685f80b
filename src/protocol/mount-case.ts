import { silenceMs, type Belief, type MountLimits } from './mount-belief.ts';
import {
  SERVER_FAILURES,
  type AddressSeen,
  type CanarySeen,
  type Evidence,
  type Failed,
  type ProbeSeen,
  type ServerSeen,
} from './mount-evidence.ts';

/** Everything that the verdict machine remembers, and what it believes. Never changed: each step makes a new one. */
export interface MountCase {
  readonly belief: Belief;
  /** The epoch that the volume must read back; undefined until somebody has found or made one. */
  readonly expected: string | undefined;
  /** When the machine was last told anything, and when a probe last reported. */
  readonly steppedAtMs: number;
  readonly reportedAtMs: number;
  /** The last good read, later by the time in which nobody watched. The limit of a stall counts from here. */
  readonly goodAtMs: number;
  readonly goodInARow: number;
  readonly doubts: Doubts;
  readonly bootId: string | undefined;
  /** False for ever after the name of the server pointed elsewhere while the mount worked. */
  readonly nameProves: boolean;
  readonly address: AddressSeen | undefined;
  /** The failure of the last trial of writing, while reads are good. */
  readonly writes: CanarySeen | undefined;
}

/** What has spoken against the mount since the last good read. */
export interface Doubts {
  readonly probe?: ProbeSeen;
  readonly others?: Series<ProbeSeen>;
  readonly absents?: Series<ProbeSeen>;
  readonly stales?: Series<ProbeSeen>;
  readonly elsewhere?: Series<AddressSeen>;
  readonly server?: ServerSeen;
  readonly restarted?: ServerSeen;
}

/** Evidence of one kind: how often, and the first and the latest of it. */
export interface Series<E extends Evidence> {
  readonly count: number;
  readonly first: E;
  readonly last: E;
}

/** What one probe says: `good` is the epoch as expected; the others are doubts, the errno where one speaks. */
export type ProbeMeaning =
  | { readonly is: 'good' | 'other' | 'absent' | 'empty' | 'missed' }
  | { readonly is: 'stale' | 'error'; readonly errno: Failed };

const ESTALE = 116;
/** ENOSPC, EDQUOT, EFBIG, EROFS, EACCES, EPERM: what a healthy volume says to one request. */
const OF_ONE_REQUEST: ReadonlySet<number> = new Set([28, 122, 27, 30, 13, 1]);

/** Tells what a probe is worth where `expected` is the epoch; without one, a volume that answers at all is good. */
export function meaningOfProbe({ root, epoch }: ProbeSeen, expected: string | undefined): ProbeMeaning {
  if (root.is === 'missed' || epoch.is === 'missed' || epoch.is === 'unasked') return { is: 'missed' };
  if (epoch.is === 'read') {
    return { is: expected === undefined || epoch.epoch === expected ? 'good' : 'other' };
  }
  if (epoch.is === 'empty') return { is: 'empty' };
  // ENOENT behind a root that fails is no absence: a stale handle has no names.
  if (epoch.is === 'absent' && root.is === 'ok') return { is: expected === undefined ? 'good' : 'absent' };
  const failures = [root, epoch].filter((answer): answer is Failed => answer.is === 'errno');
  // A server that is un-exported says ESTALE and EACCES at once; the other errno outweighs, since only ESTALE can prove.
  const errno = failures.find(({ number }) => number !== ESTALE);
  if (errno !== undefined) return { is: 'error', errno };
  return failures[0] === undefined ? { is: 'missed' } : { is: 'stale', errno: failures[0] };
}

/** Tells whether somebody answers RPCs at the address of the mount. */
export function speechOf({ answer }: ServerSeen): 'speaks' | 'silent' | 'unclear' {
  return answer.is === 'boot-id' ? 'speaks' : SERVER_FAILURES[answer.is];
}

/** Writes `evidence` into the case, and nothing into its belief. */
export function record(before: MountCase, evidence: Evidence): MountCase {
  switch (evidence.kind) {
    case 'probe':
      return recordProbe(before, evidence);
    case 'server':
      return recordServer(before, evidence);
    case 'address':
      return recordAddress(before, evidence);
    case 'canary':
      return recordCanary(before, evidence);
    default:
      return evidence satisfies never;
  }
}

/**
 * Moves the clock of the case to `atMs`.
 *
 * A watcher that was stopped, or whose event loop froze, has seen nothing meanwhile: a gap counts as no more than the
 * silence that is a doubt, or a paused machine would come back to scripts that it has given up on a healthy mount.
 */
export function passTime(before: MountCase, atMs: number, limits: MountLimits): MountCase {
  const steppedAtMs = Math.max(before.steppedAtMs, atMs);
  const sleptMs = steppedAtMs - before.steppedAtMs - silenceMs(limits);
  if (sleptMs <= 0) return { ...before, steppedAtMs };
  return {
    ...before,
    steppedAtMs,
    goodAtMs: before.goodAtMs + sleptMs,
    reportedAtMs: before.reportedAtMs + sleptMs,
    doubts: without(before.doubts, 'stales'),
  };
}

function recordProbe(before: MountCase, probe: ProbeSeen): MountCase {
  const meaning = meaningOfProbe(probe, before.expected);
  const reported = { ...before, reportedAtMs: before.steppedAtMs };
  if (meaning.is === 'good') return recordGood(reported);
  const { others, absents, stales, ...rest } = before.doubts;
  const doubts: Doubts = {
    ...rest,
    probe,
    ...grown('others', others, probe, meaning.is === 'other'),
    ...grown('absents', absents, probe, meaning.is === 'absent'),
    ...(meaning.is === 'stale' ? grown('stales', stales, probe, true) : {}),
  };
  // What writes do says nothing while reads fail, and a canary that hung in an outage must not outlast it.
  return { ...reported, goodInARow: 0, doubts, writes: undefined };
}

function recordGood(before: MountCase): MountCase {
  const { address } = before;
  return {
    ...before,
    goodAtMs: before.steppedAtMs,
    goodInARow: before.goodInARow + 1,
    doubts: {},
    nameProves: before.nameProves && !(address !== undefined && pointsElsewhere(address)),
  };
}

function recordServer(before: MountCase, server: ServerSeen): MountCase {
  const { answer } = server;
  // "While the server answers" is part of what makes ESTALE a proof: soft mounts say it about a server that is away.
  const kept = speechOf(server) === 'silent' ? without(before.doubts, 'stales') : before.doubts;
  if (answer.is !== 'boot-id') return { ...before, doubts: { ...kept, server } };
  const restarted = before.bootId !== undefined && before.bootId !== answer.bootId;
  return {
    ...before,
    bootId: answer.bootId,
    doubts: { ...kept, server, ...(restarted ? { restarted: server } : {}) },
  };
}

function recordAddress(before: MountCase, address: AddressSeen): MountCase {
  if (address.resolved.length === 0) return before;
  const { elsewhere, ...rest } = before.doubts;
  const doubts = pointsElsewhere(address)
    ? { ...rest, ...grown('elsewhere', elsewhere, address, true) }
    : rest;
  return { ...before, address, doubts };
}

function recordCanary(before: MountCase, canary: CanarySeen): MountCase {
  const { answer } = canary;
  const fine = answer.is === 'ok' || (answer.is === 'errno' && OF_ONE_REQUEST.has(answer.number));
  if (fine) return { ...before, writes: undefined };
  return before.doubts.probe === undefined ? { ...before, writes: canary } : before;
}

function pointsElsewhere({ mounted, resolved }: AddressSeen): boolean {
  return resolved.length > 0 && !resolved.includes(mounted);
}

function grown<K extends keyof Doubts, E extends Evidence>(
  key: K,
  series: Series<E> | undefined,
  latest: E,
  grows: boolean,
): { readonly [key in K]?: Series<E> } {
  const longer = grows
    ? { count: (series?.count ?? 0) + 1, first: series?.first ?? latest, last: latest }
    : series;
  // The key of a type parameter makes a record of strings in the eyes of the compiler.
  return (longer === undefined ? {} : { [key]: longer }) as { readonly [key in K]?: Series<E> };
}

function without(doubts: Doubts, key: 'stales'): Doubts {
  const { [key]: _, ...rest } = doubts;
  return rest;
}
