import { readFileSync } from 'node:fs';
import type { ProcessStat } from './process-stat.ts';

/** Processes by number; undefined for one that ended while it was read. */
export type ProcessList = ReadonlyMap<number, ProcessStat | undefined>;

const FIRST = 1;

/**
 * Tells whether the first process of this container is there for this program alone: it has the same command line, alone
 * or behind its own (`tini -- …`).
 *
 * False on a machine, where the first process is an init that everything else belongs to, and where it cannot be read.
 */
export function ownsContainer(first = `/proc/${FIRST}/cmdline`, self = '/proc/self/cmdline'): boolean {
  try {
    const own = readFileSync(self, 'latin1');
    const command = readFileSync(first, 'latin1');
    return own !== '' && (command === own || command.endsWith(`\0${own}`));
  } catch {
    // Then processes are found by group and cookie, as on a machine.
    return false;
  }
}

/**
 * Tells whether a process descends from the first one of the container.
 *
 * Not so for the first one itself, which waits for the others, and for what somebody brought in from outside of the
 * container (`kubectl exec`, `kubectl debug`), which has no parent in here.
 */
export function isBelowFirst({ pid, parent }: ProcessStat, processes: ProcessList): boolean {
  if (pid === FIRST) return false;
  // Bounded: the parents of a listing that was not made in one moment may run in a circle.
  for (let above = parent, steps = 0; above !== FIRST && steps < processes.size; steps += 1) {
    if (above === 0) return false;
    // Where its parent ended meanwhile, it has the first process as its parent now.
    above = processes.get(above)?.parent ?? FIRST;
  }
  return true;
}
