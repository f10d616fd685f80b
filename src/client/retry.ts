import { setTimeout as pause } from 'node:timers/promises';
import { randomInt } from 'node:crypto';
import { FAILURES } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';

export interface RetryRule {
  /** How long to go on trying, in all. */
  readonly forMs: number;
  readonly signal: AbortSignal;
}

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5000;

/**
 * Repeats an idempotent call while its Fault says `later`, with pauses that double, jitter, and heed Retry-After.
 *
 * @throws {Fault} the last one when it says anything else, when the time is over, or when `signal` aborts.
 */
export async function retrying<T>(rule: RetryRule, call: () => Promise<T>): Promise<T> {
  const until = performance.now() + rule.forMs;
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      const pauseMs = pauseBefore(attempt, error);
      const over = rule.signal.aborted || performance.now() + pauseMs > until;
      if (!(error instanceof Fault) || FAILURES[error.code].retry !== 'later' || over) throw error;
      // Aborted while it sleeps: the next attempt fails at once and says so.
      await pause(pauseMs, undefined, { signal: rule.signal }).catch(() => undefined);
    }
  }
}

function pauseBefore(attempt: number, error: unknown): number {
  const asked = error instanceof Fault ? error.detail['retryAfterSeconds'] : undefined;
  const doubled = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(attempt, 10));
  const jitter = randomInt(Math.ceil(doubled / 2) + 1);
  return Math.max(typeof asked === 'number' ? asked * 1000 : 0, doubled / 2 + jitter);
}
