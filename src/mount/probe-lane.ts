import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import type { ProbeProcess } from './probe-program.ts';
import {
  parseLine,
  type ChildLine,
  type ProbeKind,
  type ProbeOrder,
  type ProbeReport,
  type ProbeStep,
} from './probe-words.ts';

/** The order that a child is at. */
interface Task {
  readonly order: ProbeOrder;
  readonly report: (report: ProbeReport) => void;
  readonly begunAt: number;
  readonly steps: ProbeStep[];
  timer: NodeJS.Timeout;
}

/** For Node to start on a machine that has no time for it; measured: more than 5 s. */
const START_MS = 60_000;

/**
 * The children of one kind of probe: one that works, and those that were killed and are not gone yet.
 *
 * A child stays as long as it answers in time. One that does not is killed and never waited for; the kernel may hold it
 * for as long as the server is away. The next order starts another.
 */
export class ProbeLane {
  readonly #kind: ProbeKind;
  readonly #start: () => ProbeProcess;
  readonly #leaked = new Set<ProbeProcess>();
  #child: ProbeProcess | undefined;
  #isReady = false;
  #bornAt = 0;
  #task: Task | undefined;

  constructor(kind: ProbeKind, start: () => ProbeProcess) {
    this.#kind = kind;
    this.#start = start;
  }

  /** Probes once, and reports exactly once, at most two deadlines later: one for the child to start, one for its calls. */
  take(order: ProbeOrder, report: (report: ProbeReport) => void): void {
    const refused = this.#refusal(order);
    if (refused !== undefined) return report(this.#none(refused));
    const task = { order, report, begunAt: performance.now(), steps: [], timer: this.#timer(order) };
    this.#task = task;
    this.#child ??= this.#born();
    this.#child.stdin.write(`${JSON.stringify(order)}\n`);
  }

  /** Kills all children, also those that the kernel holds. */
  kill(): void {
    for (const child of [...this.#leaked, ...(this.#child ? [this.#child] : [])]) child.kill('SIGKILL');
  }

  #refusal({ maxLeaked }: ProbeOrder): string | undefined {
    if (this.#task) return 'the probe before it is not over';
    if (this.#child || this.#leaked.size < maxLeaked) return undefined;
    return `${this.#leaked.size} children were killed and the kernel still holds them`;
  }

  #born(): ProbeProcess {
    this.#isReady = false;
    this.#bornAt = performance.now();
    const child = this.#start();
    child.once('error', (error) => this.#gone(child, error.message));
    child.once('exit', (code, signal) => this.#gone(child, `it ended with ${code ?? signal ?? 'nothing'}`));
    createInterface({ input: child.stdout }).on('line', (line) => this.#heard(child, line));
    return child;
  }

  #heard(child: ProbeProcess, line: string): void {
    const word = parseLine<ChildLine>(line);
    if (word === undefined || child !== this.#child) return;
    if (word.type === 'ready') {
      this.#isReady = true;
      // Node itself has to start before the volume can be asked, which on a busy machine takes its time.
      if (this.#task) this.#restartTimer(this.#task);
    } else if (word.id === this.#task?.order.id) {
      if (word.type === 'step') this.#task.steps.push(word.step);
      else this.#finish('answered');
    }
  }

  #gone(child: ProbeProcess, how: string): void {
    this.#leaked.delete(child);
    if (child !== this.#child) return;
    this.#child = undefined;
    this.#finish('none', `the child could not do it: ${how}`);
  }

  #restartTimer(task: Task): void {
    clearTimeout(task.timer);
    task.timer = this.#timer(task.order);
  }

  /** Where this process itself had no time, the answer may be there already: it is read before the child is judged. */
  #timer({ id, deadlineMs }: ProbeOrder): NodeJS.Timeout {
    return setTimeout(() => {
      setImmediate(() => setImmediate(() => this.#overdue(id)));
    }, deadlineMs).unref();
  }

  #overdue(id: number): void {
    if (this.#task?.order.id !== id) return;
    // One that is killed before it was ready would be followed by one that is no quicker.
    const isStarting = !this.#isReady && performance.now() - this.#bornAt < START_MS;
    if (!isStarting) this.#leak();
    if (this.#isReady) this.#finish('missed');
    else this.#finish('none', 'the child did not start in time');
  }

  #leak(): void {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined) return;
    this.#leaked.add(child);
    child.kill('SIGKILL');
  }

  #finish(end: ProbeReport['end'], says?: string): void {
    const task = this.#task;
    if (task === undefined) return;
    this.#task = undefined;
    clearTimeout(task.timer);
    const seconds = (performance.now() - task.begunAt) / 1000;
    task.report({ ...this.#none(says), end, steps: task.steps, seconds });
  }

  #none(says: string | undefined): ProbeReport {
    const report = {
      kind: this.#kind,
      end: 'none',
      steps: [],
      seconds: 0,
      leaked: this.#leaked.size,
    } as const;
    return says === undefined ? report : { ...report, says };
  }
}
