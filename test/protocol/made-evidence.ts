/** Evidence as the tests of the verdict write it, and the play of it against the machine. Times are seconds. */
import type { Belief, MountLimits } from '../../src/protocol/mount-belief.ts';
import type { MountCase } from '../../src/protocol/mount-case.ts';
import type {
  AddressSeen,
  CanarySeen,
  Evidence,
  Failed,
  ProbeSeen,
  ServerFailure,
  ServerSeen,
} from '../../src/protocol/mount-evidence.ts';
import { elapse, openCase, weigh } from '../../src/protocol/mount-verdict.ts';

/** The defaults of the configuration, where the grace period of the server is 10 s. */
export const limits: MountLimits = {
  probeIntervalMs: 5000,
  probeDeadlineMs: 5000,
  staleAfterMs: 30_000,
  absentAgainMs: 5000,
  stallLimitMs: 90_000,
};

export const ours = 'the-epoch-of-the-volume';
export const mounted = '10.0.0.1';

const NUMBERS = { EPERM: 1, EIO: 5, EACCES: 13, ENOSPC: 28, EROFS: 30, ESTALE: 116, EDQUOT: 122 } as const;

export function errno(name: keyof typeof NUMBERS): Failed {
  return { is: 'errno', number: NUMBERS[name], name };
}

const missed = { is: 'missed', afterMs: 5000 } as const;
const ok = { is: 'ok' } as const;

/** Each answer of a probe; ends with the words of the tables that were measured. */
export const look = {
  good: { root: ok, epoch: { is: 'read', epoch: ours } },
  other: { root: ok, epoch: { is: 'read', epoch: 'another-epoch' } },
  gone: { root: ok, epoch: { is: 'absent' } },
  empty: { root: ok, epoch: { is: 'empty' } },
  stuck: { root: missed, epoch: { is: 'unasked' } },
  halfStuck: { root: ok, epoch: missed },
  stale: { root: errno('ESTALE'), epoch: errno('ESTALE') },
  staleEpoch: { root: ok, epoch: errno('ESTALE') },
  staleRoot: { root: errno('ESTALE'), epoch: { is: 'absent' } },
  eio: { root: errno('EIO'), epoch: errno('EIO') },
  eacces: { root: errno('EACCES'), epoch: errno('EACCES') },
  unexported: { root: errno('ESTALE'), epoch: errno('EACCES') },
} as const satisfies Record<string, Pick<ProbeSeen, 'root' | 'epoch'>>;

export type Look = keyof typeof look;

export function probe(second: number, name: Look): ProbeSeen {
  return { kind: 'probe', atMs: second * 1000, ...look[name] };
}

/** The same answer every five seconds from `from` to `to`, both included. */
export function probes(from: number, to: number, name: Look): ProbeSeen[] {
  const count = Math.floor((to - from) / 5) + 1;
  return Array.from({ length: count }, (_, index) => probe(from + 5 * index, name));
}

export function booted(second: number, bootId: string): ServerSeen {
  return { kind: 'server', atMs: second * 1000, address: mounted, answer: { is: 'boot-id', bootId } };
}

export function silent(second: number, is: ServerFailure = 'refused'): ServerSeen {
  return { kind: 'server', atMs: second * 1000, address: mounted, answer: { is, says: `it was ${is}` } };
}

/** What the server says every five seconds. */
export function serverEvery(from: number, to: number, seen: (second: number) => ServerSeen): ServerSeen[] {
  return probes(from, to, 'good').map(({ atMs }) => seen(atMs / 1000));
}

export function resolved(second: number, ...addresses: string[]): AddressSeen {
  return { kind: 'address', atMs: second * 1000, name: 'nfs.example', mounted, resolved: addresses };
}

export function canary(second: number, answer: CanarySeen['answer']): CanarySeen {
  return { kind: 'canary', atMs: second * 1000, answer };
}

export interface Change {
  readonly second: number;
  readonly belief: Belief;
  /** As it was weighed, or of the second that passed. */
  readonly now: MountCase;
}

/**
 * Plays evidence in the order of its times to a machine that trusts at 0 s, with a second of silence after a second.
 *
 * Returns every belief that differs from the one before it, the first included.
 */
export function play(
  evidence: readonly Evidence[],
  until: number,
  options: { limits?: MountLimits; from?: MountCase } = {},
): Change[] {
  const within = options.limits ?? limits;
  let now = options.from ?? openCase({ atMs: 0, epoch: ours });
  const changes: Change[] = [{ second: now.steppedAtMs / 1000, belief: now.belief, now }];
  const step = (next: MountCase): void => {
    if (next.belief !== now.belief) {
      changes.push({ second: next.steppedAtMs / 1000, belief: next.belief, now: next });
    }
    now = next;
  };
  const ordered = evidence.toSorted((left, right) => left.atMs - right.atMs);
  const passTo = (atMs: number): void => {
    while (now.steppedAtMs + 1000 <= atMs) step(elapse(now, now.steppedAtMs + 1000, within));
  };
  for (const one of ordered) {
    passTo(one.atMs);
    step(weigh(now, one, within));
  }
  passTo(until * 1000);
  return changes;
}

/** The changes as `26 stalled missed STORAGE_TIMEOUT`, one a line of a test. */
export function told(changes: readonly Change[]): string[] {
  return changes.map(({ second, belief: { verdict, rule, code } }) =>
    [second, verdict, rule, code].filter((word) => word !== null).join(' '),
  );
}
