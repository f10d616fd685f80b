import type { FailureCode } from './failure-table.ts';
import type { Evidence } from './mount-evidence.ts';

/**
 * What is believed of the mount.
 *
 *              one doubt, or silence                definitive evidence, or the limit
 *   trusted ───────────────────────────▶ stalled ──────────────────────────────────────▶ lost
 *      ▲           the epoch reads back     │                                              │
 *      ├────────────────────────────────────┘     the epoch reads back twice in a row      │
 *      └───────────────────────────────────────────────────────────────────────────────────┘
 */
export const VERDICTS = ['trusted', 'stalled', 'lost'] as const;
export type Verdict = (typeof VERDICTS)[number];

export type StorageCode = Extract<FailureCode, `STORAGE_${string}`>;

/** Durations that the rules of the verdict compare with; all come from the configuration. */
export interface MountLimits {
  /** From the start of one probe to that of the next. */
  readonly probeIntervalMs: number;
  /** How long a probe may take. */
  readonly probeDeadlineMs: number;
  /** How long ESTALE must last while the server answers. */
  readonly staleAfterMs: number;
  /** How far apart two looks must be that both found no epoch, or the name of the server pointing elsewhere. */
  readonly absentAgainMs: number;
  /** How long the volume may go without a good read before it is given up. */
  readonly stallLimitMs: number;
}

/** The belief of one moment; a new object whenever anything in it changes. */
export interface Belief {
  readonly verdict: Verdict;
  /** Which rule of MOUNT_RULES led to it. */
  readonly rule: MountRule;
  /** What refused work and settled scripts are told; null while trusted. */
  readonly code: StorageCode | null;
  /** A sentence for people, without a trailing period. */
  readonly says: string;
  /** When the verdict began; a new code or sentence does not change it. */
  readonly sinceMs: number;
  /** The verdict before this one and how long it lasted, for "the storage did not answer for 31 s"; null at first. */
  readonly after: { readonly verdict: Verdict; readonly lastedMs: number } | null;
  /** What the rule rests on, the oldest first. */
  readonly evidence: readonly Evidence[];
}

/**
 * Every rule once: the verdict it leads to, when, and what was measured that it rests on.
 *
 * `definitive` rules of `lost` prove that the data is not there behind this mount; the others give up waiting, and the
 * same data may come back. Thresholds in words; the numbers are those of the configuration.
 */
// prettier-ignore
export const MOUNT_RULES = {
  'reads-back': { verdict: 'trusted', definitive: true, when: 'the epoch reads back unchanged: once, or twice in a row after `lost`', why: 'statfs of the root goes to the server each time, and an epoch that an agent wrote outlives every restart that keeps the data. After an outage one or two reads in 55 trials still showed an old value' },

  'unread': { verdict: 'stalled', definitive: false, when: 'nobody has told yet which epoch to expect', why: 'a volume is believed only by its epoch' },
  'missed': { verdict: 'stalled', definitive: false, when: 'one probe misses `probeDeadlineMs`', why: 'a server that is gone shows as a hang in every trial, on soft mounts for 25 to 131 s before the first error, on hard mounts for ever' },
  'error': { verdict: 'stalled', definitive: false, when: 'one probe answers with an errno', why: 'ESTALE on the root, EACCES, EIO and EBADF were each seen where nothing was lost: a server that starts or stops gives them for seconds' },
  'unproven': { verdict: 'stalled', definitive: false, when: 'one probe finds no epoch, an empty one or another one', why: 'absence was seen after a replayed rename, emptiness for 50 s behind a cache; a second look decides' },
  'silence': { verdict: 'stalled', definitive: false, when: 'no probe has reported for `probeIntervalMs` + 2 × `probeDeadlineMs`', why: 'whoever probes may hang or be gone; no news is no good news' },
  'writes-fail': { verdict: 'stalled', definitive: false, when: 'the canary fails while the epoch reads back; but not for ENOSPC, EDQUOT, EROFS, EACCES or EPERM', why: 'a volume that reads and does not write takes no new work, and what runs may go on. A full or read-only volume answers its own code to each request' },

  'replaced': { verdict: 'lost', definitive: true, when: 'another epoch is read twice with no good read between', why: 'no restart, hang or partition changed what an agent wrote' },
  'emptied': { verdict: 'lost', definitive: true, when: 'the epoch is absent twice, `absentAgainMs` apart, while the root answers, with no good read between', why: 'a kernel NFS server on an empty directory gives no error on the root at all: ENOENT for every old name is all there is, and creating works' },
  'stale': { verdict: 'lost', definitive: true, when: 'three probes in a row and no other answer between them say ESTALE, for `staleAfterMs`, while the server answers RPCs', why: 'a user-space server on another directory says ESTALE to everything for ever; a server that starts says it for seconds, one that is un-exported mixes it with EACCES, and soft mounts say it while the server does not answer' },
  'elsewhere': { verdict: 'lost', definitive: true, when: 'the name of the server has another address than the mount, twice, `absentAgainMs` apart, nobody answers at that of the mount, and there is no good read between', why: 'a mount holds on to the address it was made with and never finds a server that moved. A name that pointed elsewhere while the mount worked proves nothing' },
  'limit': { verdict: 'lost', definitive: false, when: 'no good read for `stallLimitMs`, and a probe spoke against the mount since', why: 'a clean restart took 26 to 39 s with a grace period of 10 s and up to 130 s with one of 90 s, a partition of 30 s up to 63 s; behind a cluster address a client was back after 139 s at the latest' },
} as const satisfies Record<string, { verdict: Verdict; definitive: boolean; when: string; why: string }>;

export type MountRule = keyof typeof MOUNT_RULES;

/** Tells whether it is proved that the volume holds other data or none, so that new work may begin on it. */
export function hasOtherContent({ rule }: Belief): boolean {
  return rule === 'replaced' || rule === 'emptied';
}

/** How long no probe may report before that counts as a doubt; also the longest time that passes as watched. */
export function silenceMs({ probeIntervalMs, probeDeadlineMs }: MountLimits): number {
  return probeIntervalMs + 2 * probeDeadlineMs;
}
