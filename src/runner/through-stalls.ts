import type { FailureCode } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';
import { monotonicMs } from './clock.ts';
import { faultOfMount, type MountWatch } from './mount-watch.ts';

/** What a volume that is whole again may have said while it was not, EACCES of a server that starts included. */
const MAY_HEAL: ReadonlySet<FailureCode> = new Set<FailureCode>([
  'STORAGE_STALE',
  'STORAGE_ERROR',
  'STORAGE_TIMEOUT',
  'STORAGE_DENIED',
]);
/** What may be the first sign that the volume is another one or none. */
const MAY_BE_LOSS: FailureCode = 'STAGING_MISMATCH';
const MAX_TRIES = 3;

/** Tells whether a fault may be one of a moment. */
export function mayHeal(error: unknown): boolean {
  return error instanceof Fault && MAY_HEAL.has(error.code);
}

/**
 * Repeats `work` that met a fault of the volume when the volume is trusted again, at most twice and within the limit of
 * a stall, so that a stall fails nothing.
 *
 * @throws {Fault} the code of the loss where the volume is lost; the fault itself where it stays, or `signal` aborts.
 */
export async function throughStalls<T>(
  mount: MountWatch,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  const until = monotonicMs() + mount.stallLimitMs;
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      const isMismatch = error instanceof Fault && error.code === MAY_BE_LOSS;
      if (!isMismatch && !mayHeal(error)) throw error;
      const belief = await mount.settled(signal);
      if (belief.verdict === 'lost') throw faultOfMount(belief);
      const isOver = tries === MAX_TRIES || monotonicMs() >= until || signal.aborted;
      if (isMismatch || belief.verdict !== 'trusted' || isOver) throw error;
    }
  }
}
