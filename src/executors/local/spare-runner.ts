import type { RunFolders } from './run-folders.ts';
import { isRunning } from './machine.ts';
import { RunnerProcess, type RunnerProgram } from './runner-process.ts';

/** A runner that is up and waits for its order. */
export interface Spare {
  readonly folder: string;
  readonly process: RunnerProcess;
}

/** After a launch, before the next spare is started: the script that was launched comes first. */
const QUIET_MS = 500;

/**
 * Keeps one runner ready, so that a script does not wait for a Node to start.
 *
 * It has no order, so it can claim nothing; when the agent ends, however, its stdin ends, and it ends too. Where there
 * is none, a launch starts a runner as if there were no such thing.
 */
export class SpareRunner {
  readonly #program: RunnerProgram;
  readonly #folders: RunFolders;
  #spare: Spare | undefined;
  #timer: NodeJS.Timeout | undefined;
  #preparing: Promise<void> | undefined;
  #isClosed = false;

  constructor(program: RunnerProgram, folders: RunFolders) {
    this.#program = program;
    this.#folders = folders;
  }

  /** Hands the spare out, if there is one; and sees to the next one when no launch has come for a while. */
  take(): Spare | undefined {
    const spare = this.#spare;
    this.#spare = undefined;
    clearTimeout(this.#timer);
    if (!this.#isClosed) this.#timer = setTimeout(() => void this.prepare(), QUIET_MS).unref();
    return spare && isRunning(spare.process.mark) ? spare : undefined;
  }

  /** Starts a spare, unless there is one. Trouble is nobody's: launches do without. */
  async prepare(): Promise<void> {
    this.#preparing ??= this.#prepare().finally(() => (this.#preparing = undefined));
    await this.#preparing;
  }

  /** Lets the spare go. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#preparing;
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare) await this.#discard(spare);
  }

  async #prepare(): Promise<void> {
    if (this.#isClosed || this.#spare) return;
    try {
      await this.#sweep();
      const folder = await this.#folders.makeSpare();
      const process = await RunnerProcess.start(this.#program, this.#folders.stdoutOf(folder), '--spare');
      await this.#folders.note(folder, process.mark);
      this.#spare = { folder, process };
    } catch {
      // No room, no processes left: the next launch meets the same and tells it.
    }
  }

  async #discard({ folder, process }: Spare): Promise<void> {
    process.dismiss();
    await process.ended;
    await this.#folders.remove(folder);
  }

  /** Removes what spares of agents left that were killed. */
  async #sweep(): Promise<void> {
    for (const folder of await this.#folders.spares()) {
      const mark = await this.#folders.noted(folder);
      if (mark && !isRunning(mark)) await this.#folders.remove(folder);
    }
  }
}
