import type { MountLimits } from '../../src/protocol/mount-belief.ts';
import type { ProbeSeen } from '../../src/protocol/mount-evidence.ts';
import { monotonicMs } from '../../src/runner/clock.ts';
import { MountWatch } from '../../src/runner/mount-watch.ts';
import { limits, look, ours } from '../protocol/made-evidence.ts';

export type Look = keyof typeof look;

/** A watch whose looks are what the test says, one after another and the last one again and again. */
export function watchOf(
  t: { teardown: (work: () => void) => void },
  looks: readonly Look[],
  changes: Partial<MountLimits> = {},
): { watch: MountWatch; looked: () => number } {
  let count = 0;
  const seen = (): ProbeSeen => {
    const name = looks[Math.min(count, looks.length - 1)] ?? 'good';
    count += 1;
    return { kind: 'probe', atMs: monotonicMs(), ...look[name] };
  };
  const watch = new MountWatch(
    { look: () => Promise.resolve(seen()) },
    { limits: { ...limits, ...changes }, epoch: ours },
  );
  t.teardown(() => watch.stop());
  return { watch, looked: () => count };
}
