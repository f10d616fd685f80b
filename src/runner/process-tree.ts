import { readFile, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { monotonicMs } from './clock.ts';
import { COOKIE_VARIABLE, PRELUDE_VARIABLE } from './environment.ts';
import { isBelowFirst, type ProcessList } from './own-container.ts';
import { readStat, type ProcessStat } from './process-stat.ts';

/** What the processes of a script have in common. */
export interface TreeMark {
  readonly cookie: string;
  /** The process group that the script leads; without it only the cookie counts. */
  readonly group?: number;
  /** In a container of its own everything below its first process is of the script, whatever its environment says. */
  readonly wholeContainer?: boolean;
  /** Interpreters that wait for their word count too: afterwards nothing of the script may begin. */
  readonly withPreludes?: boolean;
  /** Processes that started earlier are nobody's descendants and are not looked at. */
  readonly sinceTicks?: number;
}

/**
 * Process numbers: those that were there at first, those that were there for the first KILL, and those that are there in
 * spite of it. What they start while they are ended is ended too and counts no more: one that forks would count for ever.
 */
export interface TreeEnd {
  readonly met: ReadonlySet<number>;
  readonly killed: ReadonlySet<number>;
  readonly left: readonly number[];
}

const POLL_MS = 20;
/** KILL ends everything but what stands in an uninterruptible call; that is not waited for longer. */
const KILL_DEADLINE_MS = 5000;
/** Reading the environment of a process that holds its memory map locked waits for it. */
const ENVIRONMENT_DEADLINE_MS = 500;
const MAX_SCANS = 5;

/**
 * The processes of one script, wherever they moved.
 *
 * A process that leaves the group and the session still has the environment that it was started with, so the cookie
 * in it finds what a signal to the group does not reach. Build servers find strays the same way.
 */
export class ProcessTree {
  readonly #mark: TreeMark;
  readonly #entries: readonly string[];
  /** Processes that did not give their environment in time: not asked again, so that each costs one thread at most. */
  readonly #silent = new Set<number>();

  constructor(mark: TreeMark) {
    this.#mark = mark;
    const names = mark.withPreludes ? [COOKIE_VARIABLE, PRELUDE_VARIABLE] : [COOKIE_VARIABLE];
    this.#entries = names.map((name) => `\0${name}=${mark.cookie}\0`);
  }

  /** Finds the processes that are there now; those that only wait for their parent to notice their end are not. */
  async find(): Promise<ProcessStat[]> {
    for (let scans = 1; ; scans += 1) {
      const { found, vanished } = await this.#scan();
      // One that ended during the scan may have started another one behind it: look again.
      if (found.length > 0 || !vanished || scans === MAX_SCANS) return found;
    }
  }

  /** Ends all: TERM, also to those that are started meanwhile, `graceMs`, KILL. */
  async end(graceMs: number): Promise<TreeEnd> {
    const sent = new Set<number>();
    let met: ReadonlySet<number> | undefined;
    for (const until = monotonicMs() + graceMs; ;) {
      const found = await this.find();
      met ??= pidsOf(found);
      if (found.length === 0) return { met, killed: new Set(), left: [] };
      found.filter(({ pid }) => !sent.has(pid)).forEach((process) => send(process, 'SIGTERM'));
      found.forEach(({ pid }) => sent.add(pid));
      const leftMs = until - monotonicMs();
      if (leftMs <= 0) break;
      await delay(Math.min(POLL_MS, leftMs));
    }
    return { ...(await this.kill()), met };
  }

  /** KILLs until nothing is left, or until what is left does not die. */
  async kill(): Promise<TreeEnd> {
    let killed: ReadonlySet<number> = new Set();
    const until = monotonicMs() + KILL_DEADLINE_MS;
    for (let empty = 0; ;) {
      const found = await this.find();
      found.forEach((process) => send(process, 'SIGKILL'));
      if (killed.size === 0) killed = pidsOf(found);
      empty = found.length === 0 ? empty + 1 : 0;
      // Twice: between fork and exec a process has its parent's environment, and not the cookie yet.
      const over = empty === 2 || monotonicMs() >= until;
      if (over) return { met: killed, killed, left: [...pidsOf(found)] };
      await delay(POLL_MS);
    }
  }

  async #scan(): Promise<{ found: ProcessStat[]; vanished: boolean }> {
    const { sinceTicks = 0 } = this.#mark;
    const names = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    const stats = new Map(names.map((name) => [Number(name), readStat(Number(name))]));
    const found: ProcessStat[] = [];
    for (const [pid, stat] of stats) {
      if (stat === undefined || pid === process.pid || stat.isDead || stat.startTicks < sinceTicks) continue;
      if (await this.#isOfScript(stat, stats)) found.push(stat);
    }
    return { found, vanished: [...stats.values()].includes(undefined) };
  }

  async #isOfScript(stat: ProcessStat, stats: ProcessList): Promise<boolean> {
    const { group, wholeContainer } = this.#mark;
    if (stat.group === group) return true;
    if (wholeContainer && isBelowFirst(stat, stats)) return true;
    return this.#carries(stat.pid);
  }

  #carries(pid: number): Promise<boolean> {
    if (this.#silent.has(pid)) return Promise.resolve(false);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => {
      this.#silent.add(pid);
      resolve(false);
    }, ENVIRONMENT_DEADLINE_MS);
    readFile(`/proc/${pid}/environ`, 'latin1', (error, text) => {
      clearTimeout(timer);
      this.#silent.delete(pid);
      // Not readable: of another user, or gone. None of ours.
      resolve(error === null && this.#entries.some((entry) => `\0${text}`.includes(entry)));
    });
    return promise;
  }
}

function pidsOf(processes: readonly ProcessStat[]): Set<number> {
  return new Set(processes.map(({ pid }) => pid));
}

function send({ pid, startTicks }: ProcessStat, signal: 'SIGTERM' | 'SIGKILL'): void {
  // Asked again right before: the number may belong to another process by now.
  if (readStat(pid)?.startTicks !== startTicks) return;
  try {
    process.kill(pid, signal);
  } catch {
    // ESRCH: it is gone, as it should be. EPERM: it has another user now, and is told among those that are left.
  }
}
