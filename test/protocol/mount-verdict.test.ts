/** What is believed of the mount from which evidence, invariant 6 and 8. */
import { test } from 'tap';
import { MOUNT_RULES, type MountLimits } from '../../src/protocol/mount-belief.ts';
import type { EpochAnswer, ProbeSeen } from '../../src/protocol/mount-evidence.ts';
import { elapse, openCase, weigh } from '../../src/protocol/mount-verdict.ts';

const limits: MountLimits = {
  probeIntervalMs: 5000,
  probeDeadlineMs: 5000,
  staleAfterMs: 30_000,
  absentAgainMs: 5000,
  stallLimitMs: 90_000,
};

function probe(second: number, epoch: EpochAnswer): ProbeSeen {
  return { kind: 'probe', atMs: second * 1000, root: { is: 'ok' }, epoch };
}

test('weigh() believes an absent epoch at the second look', async (t) => {
  const once = weigh(openCase({ atMs: 0, epoch: 'a' }), probe(5, { is: 'absent' }), limits);
  t.equal(once.belief.verdict, 'stalled');
  const twice = weigh(once, probe(10, { is: 'absent' }), limits);
  t.match(twice.belief, { verdict: 'lost', rule: 'emptied', code: 'STORAGE_EMPTIED', sinceMs: 10_000 });
  t.equal(MOUNT_RULES[twice.belief.rule].definitive, true);
});

test('elapse() leads to stalled and to lost by time alone', async (t) => {
  let now = openCase({ atMs: 0, epoch: 'a' });
  for (let second = 1; second < 90; second += 1) {
    now = elapse(now, second * 1000, limits);
    t.equal(now.belief.verdict, second < 15 ? 'trusted' : 'stalled', `${second} s`);
  }
  t.match(elapse(now, 90_000, limits).belief, { verdict: 'lost', rule: 'limit', code: 'STORAGE_TIMEOUT' });
});
