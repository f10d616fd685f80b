/**
 * Milliseconds that only go forward, from an arbitrary start. Not performance.now(): Node loads it on first use, which
 * costs a start 1.5 ms.
 */
export function monotonicMs(): number {
  return process.uptime() * 1000;
}
