import { setTimeout as delay } from 'node:timers/promises';

/** Waits for `promise`, at most `ms`; undefined where it has not settled by then. */
export async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const over = new AbortController();
  try {
    return await Promise.race([promise, delay(ms, undefined, { signal: over.signal })]);
  } finally {
    over.abort();
  }
}
