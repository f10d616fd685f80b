import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { StartedClaim } from '../protocol/run-order.ts';
import { readStat } from './process-stat.ts';

/** What this process writes into a claim: enough for any agent of this machine to find it and its first witness. */
export function ownClaim(stdout: string | null): StartedClaim {
  return {
    by: 'runner',
    pid: process.pid,
    startTicks: String(readStat('self')?.startTicks ?? 0),
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim(),
    host: hostname(),
    stdout,
    at: new Date().toISOString(),
  };
}
