import { spawn, type ChildProcess } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { Fault } from '../../protocol/fault.ts';
import type { RunOrder, StartedClaim } from '../../protocol/run-order.ts';
import type { ScriptKey } from '../../protocol/ticket.ts';
import type { Executor, Sighting, Witness } from '../executor.ts';
import { fileWitness, isRunFile, RunFolders } from './run-folder.ts';
import { isAlive, placeOf } from './runner-process.ts';
import { RunnerWatch } from './runner-watch.ts';

export interface LocalExecutorOptions {
  /** The bundled runner, on the local disk. */
  readonly runnerPath: string;
  /** Folder of the local disk for what runners write to their stdout. */
  readonly stateFolder: string;
  /** What runners, and so scripts, find in their environment. */
  readonly environment: NodeJS.ProcessEnv;
  /** @default 15000 */
  readonly clearDeadlineMs?: number;
}

/** A runner that this process started. */
interface Attempt {
  readonly child: ChildProcess;
  readonly output: string;
  ended: { exitCode: number | null; signal: string | null } | undefined;
}

/**
 * Runs script pods as child processes of this machine.
 *
 * Runners outlive the agent: they are leaders of their own sessions, their stdout is a file, and nothing of theirs
 * depends on a pipe to this process. Another agent of this machine finds them by what they wrote into their claims.
 */
export class LocalExecutor implements Executor {
  readonly kind = 'local';
  readonly #options: LocalExecutorOptions;
  readonly #folders: RunFolders;
  readonly #attempts = new Map<ScriptKey, Attempt>();
  readonly #watch = new RunnerWatch();

  constructor(options: LocalExecutorOptions) {
    this.#options = options;
    this.#folders = new RunFolders(options.stateFolder);
  }

  async launch(order: RunOrder): Promise<void> {
    const before = this.#attempts.get(order.key);
    if (before && before.ended === undefined) return;
    const { path, file } = await this.#folders.make(order.key);
    try {
      const child = await this.#start(file);
      const attempt: Attempt = { child, output: path, ended: undefined };
      this.#attempts.set(order.key, attempt);
      child.once('exit', (exitCode, signal) => {
        attempt.ended = { exitCode, signal };
        this.#watch.tell(order.key);
      });
      // Whoever watched before the launch did not know the file yet.
      this.#watch.retarget(order.key, path);
      handOver(child, order);
    } catch (error) {
      await this.#folders.remove(path);
      const why = error instanceof Error ? error.message : String(error);
      throw new Fault('RUNNER_NOT_STARTED', `cannot start ${this.#options.runnerPath}: ${why}`, {
        cause: error,
      });
    } finally {
      await file.close();
    }
  }

  async look(key: ScriptKey, claim: StartedClaim | undefined): Promise<Sighting> {
    const attempt = this.#attempts.get(key);
    if (claim?.by === 'runner') {
      const place = await placeOf(claim);
      if (place === 'elsewhere') return { presence: 'none' };
      if (place === 'here' && (await isAlive(claim))) return { presence: 'alive' };
      const own = attempt?.child.pid === claim.pid ? attempt.ended : undefined;
      return { presence: 'gone', exitCode: own?.exitCode ?? null, signal: own?.signal ?? null };
    }
    if (attempt === undefined) return { presence: 'none' };
    return attempt.ended ? { presence: 'gone', ...attempt.ended } : { presence: 'alive' };
  }

  async stop(key: ScriptKey, claim: StartedClaim | undefined): Promise<boolean> {
    return this.#signal(key, claim, 'SIGTERM');
  }

  async clear(key: ScriptKey, claim: StartedClaim | undefined, cookie: string): Promise<void> {
    await this.#signal(key, claim, 'SIGKILL');
    // In a process of its own: reading the environment of a process that hangs may hang too.
    const { runnerPath, environment, clearDeadlineMs = 15_000 } = this.#options;
    const options = { cwd: '/', stdio: 'ignore', env: environment } as const;
    const code = await exitWithin(
      spawn(process.execPath, [runnerPath, '--clear', cookie], options),
      clearDeadlineMs,
    );
    if (code === 0) return;
    throw new Fault(
      'RUNNER_FAILED',
      `processes of ${key} are left after KILL; they stand in a call that hangs`,
    );
  }

  async witness(key: ScriptKey, claim: StartedClaim | undefined): Promise<Witness | undefined> {
    const output = this.#outputOf(key, claim);
    return output === undefined ? undefined : fileWitness(output);
  }

  watch(
    key: ScriptKey,
    claim: StartedClaim | undefined,
    { changed, signal }: { changed: () => void; signal: AbortSignal },
  ): void {
    const isOwn = claim?.by === 'runner' && this.#attempts.get(key)?.child.pid === claim.pid;
    const hasEnded = claim?.by === 'runner' && !isOwn ? async () => !(await isAlive(claim)) : undefined;
    this.#watch.add(key, { changed, signal, hasEnded, output: this.#outputOf(key, claim) });
  }

  async remove(key: ScriptKey, claim: StartedClaim | undefined): Promise<void> {
    const outputs = new Set([this.#attempts.get(key)?.output, this.#outputOf(key, claim)]);
    this.#watch.remove(key);
    this.#attempts.delete(key);
    for (const output of outputs) if (output !== undefined) await this.#folders.remove(output);
  }

  async close(): Promise<void> {
    this.#watch.close();
  }

  async #signal(key: ScriptKey, claim: StartedClaim | undefined, signal: NodeJS.Signals): Promise<boolean> {
    if (claim?.by === 'runner') {
      if ((await placeOf(claim)) !== 'here' || !(await isAlive(claim))) return false;
      return sent(claim.pid, signal);
    }
    const attempt = this.#attempts.get(key);
    return attempt !== undefined && attempt.ended === undefined && attempt.child.kill(signal);
  }

  /** A claim lies where its script can write, so it may name no other file than one that an executor made for it. */
  #outputOf(key: ScriptKey, claim: StartedClaim | undefined): string | undefined {
    const claimed = claim?.by === 'runner' ? claim.stdout : null;
    if (claimed !== null && isRunFile(claimed, key)) return claimed;
    return this.#attempts.get(key)?.output;
  }

  /** By the rules for spawning beside a mount: local cwd, local program, errors thrown and told by an event. */
  async #start(output: FileHandle): Promise<ChildProcess> {
    const { runnerPath, environment } = this.#options;
    const child = spawn(process.execPath, [runnerPath], {
      cwd: '/',
      detached: true,
      stdio: ['pipe', output.fd, output.fd],
      env: environment,
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    child.unref();
    return child;
  }
}

function handOver(child: ChildProcess, order: RunOrder): void {
  // EPIPE: the runner died before it read its order. It claimed nothing, and its end is seen by itself.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(JSON.stringify(order));
}

function sent(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    // ESRCH: it ended between the look and the signal.
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

async function exitWithin(child: ChildProcess, deadlineMs: number): Promise<number | null> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      resolve(null);
    }, deadlineMs);
    const end = (code: number | null): void => {
      clearTimeout(timer);
      resolve(code);
    };
    child.once('exit', end);
    child.once('error', () => end(null));
  });
}
