import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { StartedClaim } from '../../protocol/run-order.ts';

/** A process that cannot be mistaken for a later one of the same number, as long as the machine is up. */
export interface ProcessMark {
  readonly pid: number;
  /** Field 22 of /proc/<pid>/stat. */
  readonly startTicks: string;
}

/** Where a claim was made: `here` since the last start of this machine, `before` it, or `elsewhere`. */
export type ClaimPlace = 'here' | 'before' | 'elsewhere';

/** Tells on which machine, and in which of its lives, a runner took its claim. */
export function placeOf(claim: StartedClaim & { by: 'runner' }): ClaimPlace {
  if (claim.host !== hostname()) return 'elsewhere';
  return claim.bootId === readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    ? 'here'
    : 'before';
}

/** Marks a process that was just started; undefined where it is gone already. */
export function markOf(pid: number): ProcessMark | undefined {
  const startTicks = startTicksOf(pid);
  return startTicks === undefined ? undefined : { pid, startTicks };
}

/** Tells whether the process runs. Never waits: the kernel answers from memory, whatever the process is stuck in. */
export function isRunning({ pid, startTicks }: ProcessMark): boolean {
  return startTicksOf(pid) === startTicks;
}

/** Tells cheaply whether a process of this number is there: perhaps another one, perhaps dead and not waited for. */
export function isThere({ pid }: ProcessMark): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // EPERM: there is one, of another user.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

export function isSameProcess(left: ProcessMark, right: ProcessMark): boolean {
  return left.pid === right.pid && left.startTicks === right.startTicks;
}

/** Sends a signal, asking right before whether the number still belongs to the process; false where it is gone. */
export function signalProcess(mark: ProcessMark, signal: 'SIGTERM' | 'SIGKILL'): boolean {
  // 1 and less are no runners: they would be the machine's first process, or whole groups.
  if (mark.pid <= 1 || !isRunning(mark)) return false;
  try {
    return process.kill(mark.pid, signal);
  } catch {
    // ESRCH: it ended in between. EPERM: it is of another user, so it is none that this agent started.
    return false;
  }
}

/** Undefined where there is no such process, or one that has ended and that its parent has not asked about yet. */
function startTicksOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold anything, also parentheses: fields are counted behind the last one.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    // ENOENT, or ESRCH where it ended while it was read.
    return undefined;
  }
}
