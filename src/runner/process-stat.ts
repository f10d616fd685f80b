import { readFileSync } from 'node:fs';

/** A process as /proc/<pid>/stat tells it. */
export interface ProcessStat {
  readonly pid: number;
  /** It has ended, and its parent has not asked for its exit code yet. */
  readonly isDead: boolean;
  readonly parent: number;
  readonly group: number;
  /** Field 22, in clock ticks since the machine's start: tells a process from a later one of the same number. */
  readonly startTicks: number;
}

/** Reads a process; undefined where there is none of this number. Never waits: the kernel answers from memory. */
export function readStat(pid: number | 'self'): ProcessStat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold anything, also parentheses: fields are counted behind the last one.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return {
      pid: Number.parseInt(text, 10),
      isDead: fields[0] === 'Z' || fields[0] === 'X',
      parent: Number(fields[1]),
      group: Number(fields[2]),
      startTicks: Number(fields[19]),
    };
  } catch {
    // It ended, or ended while it was read (ENOENT, ESRCH).
    return undefined;
  }
}
