import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { promises as fs } from 'node:fs';
import type { Writable } from 'node:stream';
import type { RunOrder } from '../../protocol/run-order.ts';
import type { Sighting } from '../executor.ts';
import { markOf, type ProcessMark } from './machine.ts';

/** How runners are started. */
export interface RunnerProgram {
  /** The runner's bundle, on local disk. */
  readonly runnerPath: string;
  /** What runners and scripts get, beside what is addressed to the agent. */
  readonly environment: NodeJS.ProcessEnv;
}

/** Enough for the reads of a verification and what may hang beside them. */
const RUNNER_THREADS = '8';

/** A runner that this agent started, alive or ended. */
export class RunnerProcess {
  readonly mark: ProcessMark;
  readonly ended: Promise<void>;
  /** Until the order is handed over; nothing of a child that has ended is kept but how it did. */
  #stdin: Writable | null;
  #end: Sighting | undefined;

  private constructor(child: ChildProcess) {
    const pid = child.pid ?? 0;
    this.#stdin = child.stdin;
    // Where it ended already, no process is ever taken for it.
    this.mark = markOf(pid) ?? { pid, startTicks: '' };
    this.ended = new Promise((resolve) => {
      child.once('exit', (exitCode, signal) => {
        this.#end = { presence: 'gone', exitCode, signal };
        this.#stdin = null;
        resolve();
      });
    });
    // EPIPE: it ended before it took its order; its exit tells more.
    child.stdin?.on('error', () => undefined);
    // The agent may end: runners belong to the next one.
    child.unref();
  }

  /**
   * Starts a runner with its stdout and stderr in a new file. It waits for its order.
   *
   * On local disk and with cwd `/`: a spawn that touches a dead mount would stop the agent.
   * @throws {Error} the error of the file or of the spawn.
   */
  static async start(program: RunnerProgram, stdout: string, ...flags: '--spare'[]): Promise<RunnerProcess> {
    const file = await fs.open(stdout, 'ax', 0o600);
    try {
      const child = spawn(process.execPath, [program.runnerPath, ...flags], {
        cwd: '/',
        detached: true,
        env: environmentFor(program),
        stdio: ['pipe', file.fd, file.fd],
      });
      // Where there is a number there is a process; otherwise the error comes as an event.
      if (child.pid === undefined) await once(child, 'spawn');
      return new RunnerProcess(child);
    } finally {
      await file.close();
    }
  }

  get sighting(): Sighting {
    return this.#end ?? { presence: 'alive' };
  }

  /** Hands the order over and closes its stdin; false where it ended instead of taking it. */
  async handOver(order: RunOrder): Promise<boolean> {
    const stdin = this.#stdin;
    if (stdin === null) return false;
    this.#stdin = null;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    stdin.end(JSON.stringify(order), (error?: Error | null) => resolve(!error));
    return promise;
  }

  /** Lets a runner go that has no order: it ends by itself. */
  dismiss(): void {
    this.#stdin?.destroy();
  }
}

/** Runs the program for something else than a script, and returns its exit code; null where it was ended at the deadline. */
export async function runFor(
  program: RunnerProgram,
  work: readonly ['--clear' | '--remove', string],
  deadlineMs: number,
): Promise<number | null> {
  const child = spawn(process.execPath, [program.runnerPath, ...work], {
    cwd: '/',
    env: environmentFor(program),
    stdio: 'ignore',
  });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  const timer = setTimeout(() => child.kill('SIGKILL'), deadlineMs);
  child.once('error', reject).once('exit', resolve);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

/** Without what is addressed to the agent and its Node: its settings, debuggers, coverage, a pool of 64 threads. */
function environmentFor({ environment }: RunnerProgram): NodeJS.ProcessEnv {
  const kept = Object.entries(environment).filter(([name]) => !/^(?:LONGSHORE_|NODE_)/.test(name));
  return { ...Object.fromEntries(kept), UV_THREADPOOL_SIZE: RUNNER_THREADS };
}
