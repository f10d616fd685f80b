import type { Trouble } from '../executor.ts';
import { reasonsOf } from './api-error.ts';

/** What is known of an API server that does not say any more how things stand. */
export interface ServerDoubt {
  /** In ms since 1970. */
  readonly sinceMs: number;
  /** When it last said something; 0 where it has not yet. */
  readonly heardMs: number;
  /** What the last try to hear it met. */
  readonly error: unknown;
}

/** A watch that broke is there again after some moments, which nobody needs to read about. */
const TOLD_AFTER_MS = 5000;

/**
 * Says what is in the way of a pod whose state is told by nobody any more; `seen` is what was in its way when it was
 * last told.
 *
 * What was final then is so still: a pod that has not begun does not get well by itself.
 */
export function launchTroubleIn(
  { sinceMs, heardMs, error }: ServerDoubt,
  seen: Trouble | undefined,
  nowMs: number,
): Trouble | undefined {
  if (seen?.final || nowMs - sinceMs < TOLD_AFTER_MS) return seen;
  const since = new Date(sinceMs).toISOString();
  const met = reasonsOf(error);
  return {
    code: 'CLUSTER_UNREACHABLE',
    says: `since ${since} the API server does not say what becomes of the pod: ${met}`,
    evidence: {
      ...{ since, met },
      lastHeard: heardMs === 0 ? null : new Date(heardMs).toISOString(),
      ...(seen && { lastSeen: { code: seen.code, says: seen.says } }),
    },
    final: false,
    sinceMs,
  };
}
