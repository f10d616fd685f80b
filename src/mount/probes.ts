import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { startProbeProgram, type ProbeProcess } from './probe-program.ts';
import {
  parseLine,
  type NurseryLine,
  type ProbeKind,
  type ProbePlaces,
  type ProbeReport,
} from './probe-words.ts';

export interface ProbesOptions {
  /** The bundle of the nursery, on local disk. */
  readonly program: string;
  readonly places: ProbePlaces;
  readonly deadlineMs: Readonly<Record<ProbeKind, number>>;
  /** Children for liveness that were killed and may not be gone yet. A canary is never added to one that hangs. */
  readonly maxLeaked: number;
}

/** After the two deadlines that a probe may take: for its lines to pass on a busy machine. */
const PASSAGE_MS = 2000;
/** For the nursery to kill its children and go. */
const CLOSE_MS = 2000;

/**
 * Asks the volume through processes that may hang, and always gets an answer.
 *
 *   agent ─▶ nursery ─┬▶ child: liveness    killed at its deadline, replaced, never waited for
 *                     └▶ child: canary
 *
 * Made before the agent opens anything on the volume, since that is when a spawn is safe.
 */
export class Probes {
  readonly #options: ProbesOptions;
  readonly #waiting = new Map<number, (report: ProbeReport) => void>();
  readonly #leaked = new Map<ProbeKind, number>();
  #nursery: ProbeProcess | undefined;
  #lastId = 0;
  #isClosed = false;

  constructor(options: ProbesOptions) {
    this.#options = options;
    this.start();
  }

  /** Whether there is a nursery. Where it died, `start` makes another; when that is safe, the caller knows. */
  get isUp(): boolean {
    return this.#nursery !== undefined;
  }

  /** Children that were killed and that the kernel still holds, by kind. */
  get leaked(): ReadonlyMap<ProbeKind, number> {
    return this.#leaked;
  }

  /** Starts the nursery where there is none. Hazard: not while the agent has unwritten bytes for a dead server. */
  start(): void {
    if (this.#nursery || this.#isClosed) return;
    const nursery = startProbeProgram(this.#options.program);
    this.#nursery = nursery;
    nursery.once('error', () => this.#gone(nursery));
    nursery.once('exit', () => this.#gone(nursery));
    createInterface({ input: nursery.stdout }).on('line', (line) => this.#heard(line));
    nursery.unref();
  }

  /** Probes once; never rejects. At most two deadlines and two seconds later there is a report. */
  async probe(kind: ProbeKind): Promise<ProbeReport> {
    const nursery = this.#nursery;
    if (nursery === undefined) return this.#none(kind);
    const { promise, resolve } = Promise.withResolvers<ProbeReport>();
    const id = (this.#lastId += 1);
    const { places, maxLeaked } = this.#options;
    const deadlineMs = this.#options.deadlineMs[kind];
    // The nursery has no file of the volume open: if it does not answer, something is wrong with it alone.
    const timer = setTimeout(() => this.#gone(nursery), 2 * deadlineMs + PASSAGE_MS);
    this.#waiting.set(id, (report) => {
      this.#waiting.delete(id);
      clearTimeout(timer);
      resolve(report);
    });
    const order = { id, kind, deadlineMs, places, maxLeaked: kind === 'canary' ? 1 : maxLeaked };
    nursery.stdin.write(`${JSON.stringify(order)}\n`);
    const report = await promise;
    this.#leaked.set(kind, report.leaked);
    return report;
  }

  /** Ends the nursery, which kills its children; those that the kernel holds end when it lets them. May be repeated. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const nursery = this.#nursery;
    if (nursery === undefined) return;
    const gone = once(nursery, 'exit');
    nursery.stdin.end();
    const timer = setTimeout(() => nursery.kill('SIGKILL'), CLOSE_MS);
    await gone;
    clearTimeout(timer);
  }

  #heard(line: string): void {
    const word = parseLine<NurseryLine>(line);
    if (word) this.#waiting.get(word.id)?.(word.report);
  }

  #gone(nursery: ProbeProcess): void {
    nursery.kill('SIGKILL');
    if (nursery !== this.#nursery) return;
    this.#nursery = undefined;
    for (const [, answer] of this.#waiting) answer(this.#none('liveness'));
  }

  #none(kind: ProbeKind): ProbeReport {
    const leaked = this.#leaked.get(kind) ?? 0;
    return { kind, end: 'none', steps: [], seconds: 0, leaked, says: 'the process that probes is gone' };
  }
}
