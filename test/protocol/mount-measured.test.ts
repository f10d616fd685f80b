/** Restarts of NFS servers as they were measured with the mount options of a common chart (soft, timeo=50, retrans=4),
 *  and what the machine makes of each: seconds after the cut, which is at 0. */
import { test } from 'tap';
import type { Evidence } from '../../src/protocol/mount-evidence.ts';
import {
  booted,
  limits,
  play,
  probe,
  probes,
  resolved,
  serverEvery,
  silent,
  told,
  type Look,
} from './made-evidence.ts';

const before = 'boot-1';
const after = 'boot-2';

/** The server until it is back at `second`, and from then on with another boot id. */
function server(how: 'refused' | 'timeout', second: number, until: number): Evidence[] {
  return [
    booted(-1, before),
    ...serverEvery(1, second - 1, (at) => silent(at, how)),
    ...serverEvery(second, until, (at) => booted(at, after)),
  ];
}

/** Looks that hang from the cut on, the first noticed at its deadline. */
function hang(firstMissed: number, until: number): Evidence[] {
  return probes(firstMissed, until, 'stuck');
}

interface Row {
  readonly title: string;
  readonly seen: readonly Evidence[];
  readonly until: number;
  readonly says: readonly string[];
  /** Where the grace period of the server is unknown. */
  readonly patient?: true;
}

const first = '0 trusted reads-back';
const stuckAt = (second: number): string => `${second} stalled missed STORAGE_TIMEOUT`;

const rows: readonly Row[] = [
  {
    title: 'a restart on the same directory, back at 17 s',
    seen: [...server('refused', 17, 60), probe(1, 'unexported'), ...hang(6, 30), ...probes(31, 60, 'good')],
    until: 60,
    says: [first, '1 stalled error STORAGE_ERROR', stuckAt(6), '31 trusted reads-back'],
  },
  {
    title: 'an empty directory with another inode, back at 24 s',
    seen: [...server('refused', 24, 60), probe(1, 'eacces'), ...hang(8, 33), ...probes(39, 60, 'gone')],
    until: 60,
    says: [
      first,
      '1 stalled error STORAGE_ERROR',
      stuckAt(8),
      '39 stalled unproven STORAGE_ERROR',
      '44 lost emptied STORAGE_EMPTIED',
    ],
  },
  {
    title: 'a ghost, which shows the old epoch once, back at 11 s',
    seen: [...server('refused', 11, 60), ...hang(6, 16), probe(17, 'good'), ...probes(26, 60, 'gone')],
    until: 60,
    says: [
      first,
      stuckAt(6),
      '17 trusted reads-back',
      '26 stalled unproven STORAGE_ERROR',
      '31 lost emptied STORAGE_EMPTIED',
    ],
  },
  {
    title: 'a directory with the epoch of another agent',
    seen: [...server('refused', 17, 60), ...hang(6, 26), ...probes(31, 60, 'other')],
    until: 60,
    says: [first, stuckAt(6), '31 stalled unproven STORAGE_ERROR', '36 lost replaced STORAGE_REPLACED'],
  },
  {
    title: 'a server that is gone and whose machine refuses',
    seen: [...server('refused', 200, 150), ...hang(7, 26), ...probes(27, 150, 'eio')],
    until: 150,
    says: [first, stuckAt(7), '27 stalled error STORAGE_ERROR', '90 lost limit STORAGE_UNREACHABLE'],
  },
  {
    title: 'a server that is gone, with packets dropped in silence',
    seen: [...server('timeout', 200, 150), ...hang(6, 100), ...probes(101, 150, 'eio')],
    until: 150,
    says: [first, stuckAt(6), '90 lost limit STORAGE_UNREACHABLE'],
  },
  {
    title: 'a partition of 30 s, over at 63 s for the slowest client',
    seen: [booted(-1, before), silent(3, 'timeout'), booted(31, before), ...hang(6, 61), probe(63, 'good')],
    until: 63,
    says: [first, stuckAt(6), '63 trusted reads-back'],
  },
  {
    title: 'a user-space server on an empty directory, back at 18 s',
    seen: [...server('refused', 17, 80), ...hang(6, 16), ...probes(19, 80, 'stale')],
    until: 80,
    says: [first, stuckAt(6), '19 stalled error STORAGE_STALE', '49 lost stale STORAGE_STALE'],
  },
  {
    title: 'a clean restart with a grace period of 90 s, whole after 130 s',
    seen: [...server('refused', 12, 140), ...hang(6, 126), probe(130, 'good')],
    until: 130,
    patient: true,
    says: [first, stuckAt(6), '130 trusted reads-back'],
  },
  {
    title:
      'a server that was un-exported for 65 s before it went, whole after 139 s behind a cluster address',
    seen: [
      ...serverEvery(1, 69, (at) => booted(at, before)),
      ...server('timeout', 81, 140),
      ...probes(4, 69, 'unexported'),
      ...hang(74, 134),
      probe(139, 'good'),
    ],
    until: 139,
    patient: true,
    says: [first, '4 stalled error STORAGE_ERROR', stuckAt(74), '139 trusted reads-back'],
  },
  {
    title: 'a server pod that came back behind a headless service at another address at 15 s',
    seen: [
      booted(-1, before),
      ...serverEvery(1, 60, (at) => silent(at, 'timeout')),
      ...hang(6, 60),
      resolved(5),
      resolved(10),
      resolved(15, '10.0.0.9'),
      resolved(20, '10.0.0.9'),
    ],
    until: 60,
    says: [first, stuckAt(6), '20 lost elsewhere STORAGE_UNREACHABLE'],
  },
  {
    title: 'a container that was killed in its pod, a hang of 89 s less one look',
    seen: [...server('refused', 73, 90), ...hang(6, 86), probe(89, 'good')],
    until: 89,
    says: [first, stuckAt(6), '89 trusted reads-back'],
  },
];

for (const { title, seen, until, says, patient } of rows) {
  test(`the verdict on ${title}`, async (t) => {
    const within = patient ? { ...limits, stallLimitMs: 150_000 } : limits;
    t.same(told(play(seen, until, { limits: within })), says);
  });
}

test('invariant 8: the verdict comes with the evidence that is definitive, in the second in which it is there', async (t) => {
  const definitive: readonly (readonly [Look, number])[] = [
    ['other', 5],
    ['gone', 5],
  ];
  for (const [name, secondLook] of definitive) {
    const changes = play([probe(100, name), probe(100 + secondLook, name)], 110, {
      limits: { ...limits, stallLimitMs: 1e9 },
    });
    t.match(changes.at(-1), { second: 100 + secondLook, belief: { verdict: 'lost' } });
  }
});
