import type { VolumeLocks } from '../staging/lock.ts';
import { sweepStaging, type SweepCounts } from '../staging/retention.ts';
import type { ScriptKeeper } from './script-keeper.ts';
import type { ScriptRoom } from './script-room.ts';
import { Wakeup } from './wakeup.ts';

export interface SweeperRules {
  readonly sweepMs: number;
  readonly leftoverAgeMs: number;
  readonly unusedAgeMs: number;
}

/** What a pass removed: scripts that nobody collected, old tombstones, what staging left over. */
export interface Swept extends SweepCounts {
  readonly completed: number;
  readonly forgotten: number;
  /** Scripts of which the executor had something that nobody needs. */
  readonly runs: number;
}

const MAX_REMOVALS = 10_000;

/**
 * Keeps the volume from filling up with what nobody needs any more (invariant 13).
 *
 * Under a lock, only so that agents of one volume do not all do the same looks: a second sweeper would do no harm.
 */
export class Sweeper {
  readonly #room: ScriptRoom;
  readonly #keeper: ScriptKeeper;
  readonly #locks: VolumeLocks;
  readonly #rules: SweeperRules;

  constructor(room: ScriptRoom, parts: { keeper: ScriptKeeper; locks: VolumeLocks }, rules: SweeperRules) {
    this.#room = room;
    this.#keeper = parts.keeper;
    this.#locks = parts.locks;
    this.#rules = rules;
  }

  /** Sweeps every sweepMs until `signal` aborts; trouble is told, and the next pass tries again. */
  async run(signal: AbortSignal, told: (swept: Swept) => void): Promise<void> {
    const pause = new Wakeup();
    for (;;) {
      await pause.sleep(this.#rules.sweepMs, signal);
      if (signal.aborted) return;
      try {
        const swept = await this.sweep();
        if (swept !== 'held-elsewhere') told(swept);
      } catch (error) {
        this.#room.observe({ type: 'trouble', key: undefined, step: 'sweep', error });
      }
    }
  }

  /** Sweeps once; `held-elsewhere` where another agent is at it. */
  async sweep(): Promise<Swept | 'held-elsewhere'> {
    return this.#locks.withLock('sweep', async (signal) => {
      const scripts = await this.#keeper.sweep();
      const needed = await this.#keeper.neededStagings();
      const { leftoverAgeMs, unusedAgeMs } = this.#rules;
      const isNeeded = (staging: string): boolean => needed.has(staging);
      const rules = { leftoverAgeMs, unusedAgeMs, maxRemovals: MAX_REMOVALS, isNeeded, signal };
      return { ...scripts, ...(await sweepStaging(this.#room.volume, rules, this.#room.now())) };
    });
  }
}
