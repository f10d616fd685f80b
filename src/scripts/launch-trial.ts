import { randomInt } from 'node:crypto';
import type { Trouble } from '../executors/executor.ts';
import { FAILURES, type FailureCode } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';
import { launchPauseMs } from './launch-pause.ts';
import { runOrderFor } from './run-order.ts';
import type { ScriptRoom } from './script-room.ts';
import type { Asked } from './ticket-record.ts';

/** Why a script is not to run: a code, and what is known beyond it. */
export interface Refusal {
  readonly code: FailureCode;
  readonly says?: string;
  readonly evidence?: Readonly<Record<string, unknown>>;
}

/**
 * The time between the turn of a script and its runner's claim: tries to launch, and judges what is in the way.
 *
 * What waiting does not heal ends it at once, anything else when launchTimeoutMs is over. The clock begins anew when
 * another agent takes the script up, so that a script waits at most that long for each agent that dies.
 */
export class LaunchTrial {
  readonly #room: ScriptRoom;
  readonly #asked: Asked;
  #sinceMs: number | undefined;
  /** Launches until now, those too that went well and whose runner was gone afterwards. */
  #launches = 0;
  #nextAtMs = -Infinity;
  #isLaunched = false;
  #refusal: Refusal | undefined;
  /** What was in the way of the runner when something was. */
  #earlier: Trouble | undefined;

  constructor(room: ScriptRoom, asked: Asked) {
    this.#room = room;
    this.#asked = asked;
  }

  /** What the last launch was refused for; undefined where it was not. */
  get refusal(): Refusal | undefined {
    return this.#refusal;
  }

  /** The last launch was taken: a runner is on its way, or was. */
  get isLaunched(): boolean {
    return this.#isLaunched;
  }

  /** How long to wait before the next launch, in ms. */
  get pauseMs(): number {
    return Math.max(0, this.#nextAtMs - this.#nowMs());
  }

  /** Launches; returns what is not to be waited for. @throws {Fault} other errors than those of a launch. */
  async launch(): Promise<Refusal | undefined> {
    const { pod, labels } = this.#asked;
    this.#begin();
    this.#launches += 1;
    try {
      await this.#room.executor.launch(runOrderFor(this.#room, this.#asked), pod, labels);
      this.#isLaunched = true;
      this.#refusal = undefined;
      this.#earlier = undefined;
      return undefined;
    } catch (error) {
      if (!(error instanceof Fault) || !isOfLaunch(error.code)) throw error;
      return this.#refused(error);
    } finally {
      this.#nextAtMs = this.#nowMs() + launchPauseMs(this.#launches, randomInt(2 ** 32) / 2 ** 32);
    }
  }

  /** Says whether a script is to be given up, from what is in the way of its runner now. */
  judge(trouble: Trouble | undefined): Refusal | undefined {
    const isOver = this.#nowMs() - this.#begin() > this.#room.limits.launchTimeoutMs;
    if (trouble?.final) return trouble;
    if (trouble) this.#earlier = trouble;
    return isOver ? (this.#refusal ?? trouble ?? notTaken(this.#earlier)) : undefined;
  }

  /** Leaves out a time in which no runner could take its claim. */
  forgive(ms: number): void {
    if (this.#sinceMs !== undefined) this.#sinceMs += ms;
  }

  #refused(error: Fault): Refusal | undefined {
    this.#room.observe({ type: 'trouble', key: this.#asked.key, step: 'launch', error });
    this.#isLaunched = false;
    const evidence = { ...evidenceOf(error), launches: this.#launches };
    this.#refusal = { code: error.code, says: error.message, evidence };
    return FAILURES[error.code].retry === 'later' ? this.judge(undefined) : this.#refusal;
  }

  #begin(): number {
    this.#sinceMs ??= this.#nowMs();
    return this.#sinceMs;
  }

  #nowMs(): number {
    return this.#room.now().getTime();
  }
}

/** Nothing is known to be in the way now; what was before may be why it is late, and is not said to be why it failed. */
function notTaken(earlier: Trouble | undefined): Refusal {
  if (earlier === undefined) return { code: 'RUNNER_NOT_STARTED' };
  const { code, says, evidence, sinceMs } = earlier;
  return {
    code: 'RUNNER_NOT_STARTED',
    says: `${FAILURES.RUNNER_NOT_STARTED.says}; nothing is known to be in its way now, and before that: ${says}`,
    evidence: { earlier: { code, evidence, since: new Date(sinceMs).toISOString() } },
  };
}

function evidenceOf({ detail }: Fault): Readonly<Record<string, unknown>> {
  const { evidence } = detail;
  return typeof evidence === 'object' && evidence !== null ? { ...evidence } : { ...detail };
}

function isOfLaunch(code: FailureCode): boolean {
  return code === 'RUNNER_NOT_STARTED' || FAILURES[code].category === 'cluster';
}
