const FIRST_MOST_MS = 2000;
const LEAST_MS = 1000;
const MOST_MS = 30_000;

/**
 * Says how long to wait after so many launches of one script before the next one, in ms: 1 s at least, and by chance up
 * to 2 s that double with each launch, up to 30 s.
 *
 * `chance` is from 0 to below 1. All by chance, so that scripts that one quota keeps out do not come back together.
 */
export function launchPauseMs(launches: number, chance: number): number {
  const mostMs = Math.min(MOST_MS, FIRST_MOST_MS * 2 ** Math.min(launches - 1, 16));
  return LEAST_MS + chance * (mostMs - LEAST_MS);
}
