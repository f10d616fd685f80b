import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { StartedClaim } from '../../protocol/run-order.ts';

/** One process, told from a later one that got its number. */
export interface ProcessMark {
  readonly pid: number;
  readonly startTicks: string;
}

export type RunnerClaim = StartedClaim & { readonly by: 'runner' };

/** Where a claim was made: `here` may be looked at in /proc, `before-boot` is over, `elsewhere` is not ours to judge. */
export async function placeOf(claim: RunnerClaim): Promise<'here' | 'before-boot' | 'elsewhere'> {
  if (claim.host !== hostname()) return 'elsewhere';
  return claim.bootId === (await bootId()) ? 'here' : 'before-boot';
}

/** Whether the very process is there and has not ended; one that only waits for its parent to notice has ended. */
export async function isAlive({ pid, startTicks }: ProcessMark): Promise<boolean> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold anything, parentheses too.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[19] === startTicks && fields[0] !== 'Z' && fields[0] !== 'X';
  } catch {
    // ENOENT and ESRCH: there is no such process, which is the answer.
    return false;
  }
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim();
}
