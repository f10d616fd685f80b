import { readFileSync } from 'node:fs';

/**
 * Reads how often the kernel has killed for memory in this process's cgroup; null where it cannot be read: a cgroup
 * without the memory controller, no /sys.
 *
 * `ownCgroup` is /proc/self/cgroup; its path counts from the root of the machine, also in a container that has only its
 * own part of the tree mounted (cgroup v1, and v2 without a namespace). There the mount's root is the cgroup.
 *
 * Source: kernel Documentation/admin-guide/cgroup-v2.rst, memory.events, oom_kill; cgroup-v1/memory.rst,
 * memory.oom_control, oom_kill.
 */
export function oomKillCount(ownCgroup = '/proc/self/cgroup', cgroupRoot = '/sys/fs/cgroup'): number | null {
  const groups = read(ownCgroup);
  const v1 = /^\d+:(?:[^:\n]*,)?memory(?:,[^:\n]*)?:(\/.*)$/m.exec(groups ?? '')?.[1];
  const path = v1 ?? /^0::(\/.*)$/m.exec(groups ?? '')?.[1];
  if (path === undefined) return null;
  const [mount, file] =
    v1 === undefined ? [cgroupRoot, 'memory.events'] : [`${cgroupRoot}/memory`, 'memory.oom_control'];
  const events = read(`${mount}${path.replace(/\/$/, '')}/${file}`) ?? read(`${mount}/${file}`);
  const count = /^oom_kill (\d+)$/m.exec(events ?? '')?.[1];
  return count === undefined ? null : Number(count);
}

/** The count is evidence beside the outcome; where the kernel does not tell it, the record says so. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
