/** The long-running programs of the cluster: started once, found again by another process, ended.
 *
 *  A file `pid/<name>` holds pid and start time, so that a pid which was given again is never taken for ours. */
import { spawn } from 'node:child_process';
import { mkdirSync, openSync, closeSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../harness/eventually.ts';
import { places } from './places.ts';

const pidFile = (name: string): string => join(places.pid, name);

/** The 22nd field of /proc/<pid>/stat; undefined when the process has ended, also as a zombie. Source: proc_pid_stat(5). */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' || state === 'X' ? undefined : fields[18];
  } catch {
    return undefined;
  }
}

/** The pid of a daemon that runs; undefined when it does not. */
export function pidOf(name: string): number | undefined {
  try {
    const [pid, since] = readFileSync(pidFile(name), 'utf8').split(' ');
    return since !== undefined && startTime(Number(pid)) === since ? Number(pid) : undefined;
  } catch {
    return undefined;
  }
}

/** The names of all daemons that were ever started and not stopped. */
export function daemons(): string[] {
  try {
    return readdirSync(places.pid);
  } catch {
    return [];
  }
}

/** Starts a daemon in a session of its own, with its output in `log/<name>.log`; does nothing when it runs. */
export function start(name: string, program: string, args: readonly string[]): void {
  if (pidOf(name) !== undefined) return;
  for (const folder of [places.pid, places.log]) mkdirSync(folder, { recursive: true });
  const log = openSync(join(places.log, `${name}.log`), 'a');
  const child = spawn(program, args, { detached: true, stdio: ['ignore', log, log], cwd: places.run });
  closeSync(log);
  // A program that cannot be started has no pid; the event says the same once more.
  child.on('error', () => undefined);
  if (child.pid === undefined) throw new Error(`${name} could not be started: ${program}`);
  child.unref();
  writeFileSync(pidFile(name), `${child.pid} ${startTime(child.pid) ?? ''}`);
}

/** @throws {Error} when one of the daemons has ended; the message names its log. */
export function expectRunning(...names: readonly string[]): void {
  for (const name of names)
    if (pidOf(name) === undefined)
      throw new Error(`${name} has ended: see ${join(places.log, `${name}.log`)}`);
}

/** Sends a signal to a daemon that runs. */
export function signal(name: string, kind: NodeJS.Signals): void {
  const pid = pidOf(name);
  if (pid !== undefined) process.kill(pid, kind);
}

/** Ends a daemon: TERM, and KILL when it is still there after `graceMs`. */
export async function stop(name: string, graceMs: number): Promise<void> {
  const gone = (): boolean => pidOf(name) === undefined;
  if (graceMs > 0) {
    // One that is frozen takes no other signal.
    signal(name, 'SIGCONT');
    signal(name, 'SIGTERM');
    await eventually(gone, graceMs).catch(() => undefined);
  }
  signal(name, 'SIGKILL');
  await eventually(gone, 10_000);
  rmSync(pidFile(name), { force: true });
}
