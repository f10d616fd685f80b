import { setTimeout as pause } from 'node:timers/promises';
import { randomInt } from 'node:crypto';
import { FAILURES } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';

export interface RetryRule {
  /** How long to go on trying, from the first failure: an upload may take an hour before it fails. */
  readonly forMs: number;
  readonly signal: AbortSignal;
  /** Told before each pause. */
  readonly told?: ((fault: Fault, pauseMs: number) => void) | undefined;
}

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5000;

/** Answers that say "not now": a timeout of the body, too much at once, not able to for the moment. */
const NOT_NOW: ReadonlySet<number | null> = new Set([408, 429, 503]);

/** Tells whether the same call may go well by itself, soon. */
export function isPassing(error: unknown): error is Fault {
  if (!(error instanceof Fault)) return false;
  const { retry, status } = FAILURES[error.code];
  return error.code === 'AGENT_UNREACHABLE' || (retry === 'later' && NOT_NOW.has(status));
}

/**
 * Repeats an idempotent call while it fails in a way that passes, with pauses that double, jitter, and heed Retry-After.
 *
 * @throws {Fault} the last one when it says anything else, when the time is over, or when `signal` aborts.
 */
export async function retrying<T>(rule: RetryRule, call: () => Promise<T>): Promise<T> {
  let until: number | undefined;
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      until ??= performance.now() + rule.forMs;
      const pauseMs = pauseBefore(attempt, error);
      const over = rule.signal.aborted || performance.now() + pauseMs > until;
      if (!isPassing(error) || over) throw error;
      rule.told?.(error, pauseMs);
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
