import { setTimeout as delay } from 'node:timers/promises';
import { monotonicMs } from './clock.ts';
import { mayPass } from './storage-fault.ts';

/** How long a file that was published may be missing before that is believed. */
const PATIENCE_MS = 3000;
const PAUSE_MS = 100;

/**
 * Repeats `work` for some seconds while it says ENOENT or ESTALE: the name caches of a network file system may be
 * behind what another node has published. Other errors, and the last one, are thrown.
 */
export async function patiently<T>(work: () => Promise<T>, patienceMs = PATIENCE_MS): Promise<T> {
  const until = monotonicMs() + patienceMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!mayPass(error) || monotonicMs() >= until) throw error;
    }
    await delay(PAUSE_MS);
  }
}
