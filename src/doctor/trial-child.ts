import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { parsedLine, type TrialFailure, type TrialLine, type TrialName, type Trials } from './trial-words.ts';

type Child = ChildProcessByStdio<Writable, Readable, null>;

/** How a trial ended. `broken`: the child did not do it, which says nothing of the volume. */
export type TrialEnd<Name extends TrialName> =
  | { readonly is: 'facts'; readonly facts: Trials[Name] }
  | { readonly is: 'failed'; readonly failure: TrialFailure }
  | { readonly is: 'hangs'; readonly deadlineMs: number }
  | { readonly is: 'broken'; readonly says: string };

interface Task {
  readonly id: number;
  readonly deadlineMs: number;
  readonly end: (end: TrialEnd<TrialName>) => void;
  timer: NodeJS.Timeout;
}

/** For a Node to start, on a busy machine. */
const START_MS = 5000;
/** Calls of one trial run side by side: readers and a writer, creators. */
const THREADS = '16';

/**
 * Makes trials in a process that may hang, one at a time, and always gets an answer.
 *
 * A child that does not answer in time is killed and never waited for, since the kernel may hold it for as long as the
 * server of the volume is away; the next trial starts another.
 */
export class TrialChild {
  readonly #program: string;
  #child: Child | undefined;
  #isReady = false;
  #task: Task | undefined;
  #lastId = 0;

  /** `program` is the bundle of the trials, on local disk. */
  constructor(program: string) {
    this.#program = program;
  }

  /** Makes one trial; never rejects. Where a child has to start first, that takes up to 5 s more. */
  async try<Name extends TrialName>(
    trial: Name,
    folder: string,
    deadlineMs: number,
  ): Promise<TrialEnd<Name>> {
    const { promise, resolve } = Promise.withResolvers<TrialEnd<TrialName>>();
    const id = (this.#lastId += 1);
    const child = (this.#child ??= this.#born());
    const task = { id, deadlineMs, end: resolve, timer: this.#timer(this.#isReady ? deadlineMs : START_MS) };
    this.#task = task;
    child.stdin.write(`${JSON.stringify({ id, trial, folder })}\n`);
    // The facts that answer an order are those of its trial.
    return (await promise) as TrialEnd<Name>;
  }

  /** Ends the child, also in the middle of a trial. */
  kill(): void {
    this.#end({ is: 'broken', says: 'it was interrupted' });
    const child = this.#child;
    this.#child = undefined;
    child?.kill('SIGKILL');
    child?.stdout.destroy();
    child?.stdin.destroy();
  }

  #born(): Child {
    this.#isReady = false;
    const child = spawn(process.execPath, [this.#program], {
      // Of nothing on the volume, so that the spawn cannot wait for it.
      cwd: '/',
      env: { UV_THREADPOOL_SIZE: THREADS },
      // ^C at a terminal is for the doctor, who then cleans up with this child.
      detached: true,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    // EPIPE: it is gone, which its exit tells.
    child.stdin.on('error', () => undefined);
    child.once('error', (error) => this.#gone(child, error.message));
    child.once('exit', (code, signal) => this.#gone(child, `it ended with ${code ?? signal ?? 'nothing'}`));
    createInterface({ input: child.stdout }).on('line', (line) => this.#heard(child, line));
    child.unref();
    return child;
  }

  #heard(child: Child, text: string): void {
    const line = parsedLine<TrialLine>(text);
    if (line === undefined || child !== this.#child) return;
    if (line.type === 'ready') {
      this.#isReady = true;
      if (this.#task) this.#restart(this.#task);
    } else if (line.id === this.#task?.id) {
      if (line.type === 'facts') this.#end({ is: 'facts', facts: line.facts });
      else this.#end({ is: 'failed', failure: line.failure });
    }
  }

  #restart(task: Task): void {
    clearTimeout(task.timer);
    task.timer = this.#timer(task.deadlineMs);
  }

  #timer(ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#overdue(), ms);
  }

  #overdue(): void {
    const deadlineMs = this.#task?.deadlineMs ?? 0;
    if (this.#isReady) this.#end({ is: 'hangs', deadlineMs });
    else this.#end({ is: 'broken', says: `the process for it did not start within ${START_MS} ms` });
    this.kill();
  }

  #gone(child: Child, how: string): void {
    if (child !== this.#child) return;
    this.#child = undefined;
    this.#end({ is: 'broken', says: `the process for it is gone: ${how}` });
  }

  #end(end: TrialEnd<TrialName>): void {
    const task = this.#task;
    this.#task = undefined;
    clearTimeout(task?.timer);
    task?.end(end);
  }
}
