import type { EndRecord } from '../protocol/end-record.ts';
import { Fault } from '../protocol/fault.ts';
import type { RunOrder } from '../protocol/run-order.ts';
import type { FrameWriter } from './frame-writer.ts';
import { secretsOf } from './masker.ts';
import { ProcessTree } from './process-tree.ts';
import { ScriptOutput } from './script-output.ts';
import type { ScriptProcess } from './script-process.ts';
import type { StdoutWitness } from './stdout-witness.ts';
import type { StopReason, StopRequest } from './stop-request.ts';
import { superviseScript } from './supervision.ts';
import { within } from './within.ts';

export interface ScriptCourseOptions {
  readonly order: RunOrder;
  readonly journal: FrameWriter;
  readonly stdout: StdoutWitness;
  readonly preparing: Promise<ScriptProcess>;
  readonly stop: StopRequest;
  /** Settles when the script may begin; rejects when it must not. */
  readonly checked: Promise<unknown>;
  readonly crashed: Promise<never>;
  /** See TreeMark. */
  readonly wholeContainer: boolean;
}

/** How it went: what of an end record the script's own process and output say, and an error that got in the way. */
export interface CourseEnd extends Pick<
  EndRecord,
  'exitCode' | 'signal' | 'leftBehind' | 'stdoutBytes' | 'stderrBytes'
> {
  readonly stoppedBy: StopReason | null;
  readonly startedAt: Date;
  readonly endedAt: Date;
  readonly error: unknown;
}

/** For a script that was ended because of an error of this program. */
const LAST_OUTPUT_MS = 5000;

/** From the claim to the end of the last process of the script; never rejects. */
export class ScriptCourse {
  readonly #options: ScriptCourseOptions;
  #startedAt = new Date();
  #tree: ProcessTree | undefined;
  #outputs: readonly ScriptOutput[] = [];

  constructor(options: ScriptCourseOptions) {
    this.#options = options;
  }

  async run(): Promise<CourseEnd> {
    const running = this.#run();
    try {
      return await Promise.race([running, this.#options.crashed]);
    } catch (error) {
      // It is told by the end record. What of the script there may be ends with it, the last of its output read.
      await this.#tree?.kill();
      await within(
        running.catch(() => undefined),
        LAST_OUTPUT_MS,
      );
      return this.#end({ error });
    }
  }

  async #run(): Promise<CourseEnd> {
    const { checked, preparing, stop } = this.#options;
    try {
      await Promise.race([checked, stop.asked]);
      const script = await preparing;
      if (stop.by === null) return await this.#supervise(script);
    } finally {
      if (this.#outputs.length === 0)
        await preparing.then((script) => script.abandon()).catch(() => undefined);
    }
    return this.#end({ stoppedBy: stop.by });
  }

  async #supervise(script: ScriptProcess): Promise<CourseEnd> {
    const { order, journal, stdout, stop, wholeContainer } = this.#options;
    const fds = script.openOutput();
    const secrets = secretsOf(order.variables);
    const outputs = (['stdout', 'stderr'] as const).map(
      (kind) => new ScriptOutput({ kind, fd: fds[kind], secrets, journal, stdout }),
    );
    this.#outputs = outputs;
    this.#startedAt = new Date();
    const { pid: group, startTicks: sinceTicks } = script;
    const tree = new ProcessTree({ cookie: order.cookie, group, sinceTicks, wholeContainer });
    this.#tree = tree;
    script.begin(order.cookie);
    const end = await superviseScript({ order, script, tree, outputs, journal, stdout, stop });
    const refusal = end.exitCode === null ? '' : await script.begun;
    if (refusal !== '')
      throw new Fault('STORAGE_ERROR', `bash could not enter the working directory: ${refusal}`);
    return this.#end(end);
  }

  #end(known: Partial<CourseEnd>): CourseEnd {
    const [stdout, stderr] = this.#outputs;
    return {
      exitCode: null,
      signal: null,
      stoppedBy: null,
      leftBehind: 0,
      error: undefined,
      startedAt: this.#startedAt,
      endedAt: new Date(),
      stdoutBytes: stdout?.bytes ?? 0,
      stderrBytes: stderr?.bytes ?? 0,
      ...known,
    };
  }
}
