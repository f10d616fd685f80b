import { readFileSync } from 'node:fs';

/**
 * Reads how often the kernel has killed for memory in this process's cgroup, from cgroup v2; null where it cannot be
 * read: cgroup v1, the root cgroup, no /sys.
 *
 * Source: kernel Documentation/admin-guide/cgroup-v2.rst, memory.events, oom_kill.
 */
export function oomKillCount(ownCgroup = '/proc/self/cgroup', cgroupRoot = '/sys/fs/cgroup'): number | null {
  try {
    const path = /^0::(\/.*)$/m.exec(readFileSync(ownCgroup, 'utf8'))?.[1];
    if (path === undefined) return null;
    const events = readFileSync(`${cgroupRoot}${path === '/' ? '' : path}/memory.events`, 'utf8');
    const count = /^oom_kill (\d+)$/m.exec(events)?.[1];
    return count === undefined ? null : Number(count);
  } catch {
    // The count is evidence beside the outcome; where the kernel does not tell it, the record says so.
    return null;
  }
}
