import { setTimeout as pause } from 'node:timers/promises';

/** Waits until `holds` is true, looking again every `everyMs`. @throws {Error} when it is not after `deadlineMs`. */
export async function eventually(
  holds: () => boolean | Promise<boolean>,
  deadlineMs = 20_000,
  everyMs = 20,
): Promise<void> {
  const until = performance.now() + deadlineMs;
  while (!(await holds())) {
    if (performance.now() > until) throw new Error(`not within ${deadlineMs} ms: ${holds.toString()}`);
    await pause(everyMs);
  }
}
