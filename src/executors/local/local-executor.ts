import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '../../protocol/fault.ts';
import type { RunOrder, StartedClaim } from '../../protocol/run-order.ts';
import type { ScriptKey } from '../../protocol/ticket.ts';
import type { Executor, Sighting, Witness } from '../executor.ts';
import { FileWitness } from './file-witness.ts';
import { KeepFolder } from './keep-folder.ts';
import { LaunchLimit } from './launch-limit.ts';
import { isRunning, isSameProcess, placeOf, signalProcess, type ProcessMark } from './machine.ts';
import { folderNamedBy, RunFolders } from './run-folders.ts';
import { RunWatcher, type RunPlace, type RunWatch } from './run-watcher.ts';
import { runFor, RunnerProcess, type RunnerProgram } from './runner-process.ts';
import { SpareRunner } from './spare-runner.ts';

export interface LocalExecutorOptions extends RunnerProgram {
  /** On local disk; what runners write first lies below it. */
  readonly stateFolder: string;
  /** Launches at once, at least 1. @default 8 */
  readonly launchLimit?: number;
  /** Keeps one runner up that waits for the next script: 50 MiB of memory for half of the wait. @default true */
  readonly spare?: boolean;
}

/** A runner of this agent, and its folder. */
interface OwnRun {
  readonly folder: string;
  readonly process: RunnerProcess;
}

const GONE: Sighting = { presence: 'gone', exitCode: null, signal: null };
const KILL_DEADLINE_MS = 5000;
const CLEAR_DEADLINE_MS = 15_000;
/** For a copy of many files, on local disk. */
const REMOVE_DEADLINE_MS = 60_000;
const POLL_MS = 20;

/**
 * Runs scripts as processes of this machine.
 *
 * A runner is in a session of its own, its stdout is a file, its stdin is closed once it has its order: nothing of it
 * hangs on the agent, so that an agent may be killed at any time and the next one finds the runner by the claim on
 * the volume, or by the note in its folder where it has not claimed yet.
 */
export class LocalExecutor implements Executor {
  readonly kind = 'local';
  readonly keep: KeepFolder;
  readonly #program: RunnerProgram;
  readonly #folders: RunFolders;
  readonly #limit: LaunchLimit;
  readonly #spare: SpareRunner | undefined;
  readonly #watcher = new RunWatcher();
  readonly #own = new Map<ScriptKey, OwnRun>();

  constructor(options: LocalExecutorOptions) {
    const { runnerPath, environment, stateFolder, launchLimit = 8, spare = true } = options;
    this.keep = new KeepFolder(stateFolder);
    this.#program = { runnerPath, environment };
    this.#folders = new RunFolders(stateFolder);
    this.#limit = new LaunchLimit(launchLimit);
    this.#spare = spare ? new SpareRunner(this.#program, this.#folders) : undefined;
  }

  /** Starts the runner that waits for the first script; without this, the first launch sees to one for the second. */
  async prepare(): Promise<void> {
    await this.#spare?.prepare();
  }

  async launch(order: RunOrder): Promise<void> {
    await this.#limit.run(async () => {
      try {
        // A runner that is on its way may still claim; a second one would only end without a word.
        if ((await this.look(order.key, undefined)).presence === 'alive') return;
        if (!(await this.#launchSpare(order))) await this.#launchNew(order);
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        const message = `a runner for ${order.key} could not be started: ${text}`;
        throw new Fault('RUNNER_NOT_STARTED', message, { cause: error });
      }
    });
  }

  async look(key: ScriptKey, claim: StartedClaim | undefined): Promise<Sighting> {
    const own = this.#own.get(key);
    if (claim?.by === 'runner') {
      if (own && isSameProcess(own.process.mark, claim)) return own.process.sighting;
      // What runs on another machine, this one cannot see.
      const place = placeOf(claim);
      if (place === 'elsewhere') return { presence: 'none' };
      return place === 'here' && isRunning(claim) ? { presence: 'alive' } : GONE;
    }
    if (own) return own.process.sighting;
    // Of an agent before this one: on its way, or dead without a claim, so that it may be launched anew.
    return { presence: (await this.#noted(key)).some(isRunning) ? 'alive' : 'none' };
  }

  async stop(key: ScriptKey, claim: StartedClaim | undefined): Promise<boolean> {
    const sent = (await this.#marks(key, claim)).map((mark) => signalProcess(mark, 'SIGTERM'));
    return sent.includes(true);
  }

  abandon(): Promise<void> {
    // There is nothing around a process of this machine.
    return Promise.resolve();
  }

  async clear(key: ScriptKey, claim: StartedClaim | undefined, cookie: string): Promise<void> {
    if (claim?.by === 'runner' && placeOf(claim) === 'elsewhere') {
      const message = `the runner of ${key} is on ${claim.host}, where this agent cannot end it`;
      throw new Fault('RUNNER_FAILED', message);
    }
    // The runner first, so that it starts nothing while its processes are looked for.
    const marks = await this.#marks(key, claim);
    for (const mark of marks) signalProcess(mark, 'SIGKILL');
    for (const until = Date.now() + KILL_DEADLINE_MS; marks.some(isRunning); await delay(POLL_MS)) {
      if (Date.now() < until) continue;
      throw new Fault('RUNNER_FAILED', `the runner of ${key} does not end: it stands in a system call`);
    }
    if ((await runFor(this.#program, ['--clear', cookie], CLEAR_DEADLINE_MS)) !== 0) {
      throw new Fault('RUNNER_FAILED', `processes of ${key} do not end: they stand in a system call`);
    }
    await this.#removeCopies(key);
  }

  async witness(key: ScriptKey, claim: StartedClaim | undefined): Promise<Witness | undefined> {
    const { stdout } = await this.#place(key, claim);
    return stdout === undefined ? undefined : FileWitness.open(stdout);
  }

  watch(key: ScriptKey, claim: StartedClaim | undefined, watch: RunWatch): void {
    this.#watcher.add(key, watch);
    void this.#place(key, claim).then(
      (place) => this.#watcher.resolve(key, watch, place),
      // The state folder cannot be read: the watch tells now and then that there may be news, and readers tell why.
      () => undefined,
    );
  }

  async remove(key: ScriptKey, claim: StartedClaim | undefined): Promise<void> {
    this.#watcher.drop(key);
    this.#own.delete(key);
    const here = claim?.by === 'runner' && placeOf(claim) !== 'elsewhere';
    const named = here ? folderNamedBy(claim.stdout, key) : undefined;
    await this.#removeCopies(key);
    await this.#folders.removeAll(key);
    if (named !== undefined) await this.#folders.remove(named);
  }

  /** None: agents of several volumes may share a state folder, and a run folder does not say whose it is. */
  async keys(): Promise<readonly ScriptKey[]> {
    return [];
  }

  async close(): Promise<void> {
    this.#watcher.close();
    await this.#spare?.close();
  }

  async #launchSpare(order: RunOrder): Promise<boolean> {
    const spare = this.#spare?.take();
    if (spare === undefined) return false;
    const folder = await this.#folders.assign(spare.folder, order.key);
    if (await this.#handOver(order, { folder, process: spare.process })) return true;
    // It ended while it waited; nobody misses it.
    this.#own.delete(order.key);
    await this.#folders.remove(folder);
    return false;
  }

  async #launchNew(order: RunOrder): Promise<void> {
    const folder = await this.#folders.make(order.key);
    const process = await RunnerProcess.start(this.#program, this.#folders.stdoutOf(folder));
    await this.#folders.note(folder, process.mark);
    // Where it ended already, its exit and its last words tell more than an error here would.
    await this.#handOver(order, { folder, process });
  }

  async #handOver(order: RunOrder, run: OwnRun): Promise<boolean> {
    const { key } = order;
    const { mark, ended } = run.process;
    this.#own.set(key, run);
    this.#watcher.point(key, { stdout: this.#folders.stdoutOf(run.folder), process: mark });
    void ended.then(() => this.#watcher.tellEnd(key, mark));
    const folder = this.#folders.copyOf(run.folder);
    return run.process.handOver({ ...order, copy: order.copy && { ...order.copy, folder } });
  }

  /** By the runner's program, which knows what scripts leave behind. What it cannot remove, the next removal meets again. */
  async #removeCopies(key: ScriptKey): Promise<void> {
    for (const copy of await this.#folders.copiesOf(key)) {
      await runFor(this.#program, ['--remove', copy], REMOVE_DEADLINE_MS);
    }
  }

  /** The runners of a script that may be alive: the one that has the claim, and those that may still want it. */
  async #marks(key: ScriptKey, claim: StartedClaim | undefined): Promise<ProcessMark[]> {
    const own = this.#own.get(key);
    const claimed = claim?.by === 'runner' && placeOf(claim) === 'here' ? [claim] : [];
    const all = [...claimed, ...(own ? [own.process.mark] : []), ...(await this.#noted(key))];
    return [...new Map(all.map((mark) => [mark.pid, mark])).values()];
  }

  async #noted(key: ScriptKey): Promise<ProcessMark[]> {
    const folders = await this.#folders.of(key);
    const marks = await Promise.all(folders.map((folder) => this.#folders.noted(folder)));
    return marks.filter((mark) => mark !== undefined);
  }

  /** Where the first witness is, and the runner that writes it. */
  async #place(key: ScriptKey, claim: StartedClaim | undefined): Promise<RunPlace> {
    if (claim?.by === 'runner') {
      const place = placeOf(claim);
      const named = place === 'elsewhere' ? undefined : folderNamedBy(claim.stdout, key);
      const stdout = named && this.#folders.stdoutOf(named);
      return { stdout, process: place === 'here' ? claim : undefined };
    }
    const own = this.#own.get(key);
    if (own) return { stdout: this.#folders.stdoutOf(own.folder), process: own.process.mark };
    const [newest] = await this.#folders.of(key);
    if (newest === undefined) return { stdout: undefined, process: undefined };
    return { stdout: this.#folders.stdoutOf(newest), process: await this.#folders.noted(newest) };
  }
}
