import type { Trouble } from '../executors/executor.ts';
import { FAILURES, type FailureCode } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';
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
  #since: number | undefined;
  #last: Refusal = { code: 'RUNNER_NOT_STARTED' };
  #hindrance: Refusal | undefined;

  constructor(room: ScriptRoom, asked: Asked) {
    this.#room = room;
    this.#asked = asked;
  }

  /** What the last launch was refused for; undefined where it was not. */
  get hindrance(): Refusal | undefined {
    return this.#hindrance;
  }

  /** Launches; returns what is not to be waited for. @throws {Fault} other errors than those of a launch. */
  async launch(): Promise<Refusal | undefined> {
    this.#begin();
    try {
      await this.#room.executor.launch(runOrderFor(this.#room, this.#asked), this.#asked.pod);
      this.#hindrance = undefined;
      return undefined;
    } catch (error) {
      if (!(error instanceof Fault) || !isOfLaunch(error.code)) throw error;
      this.#room.observe({ type: 'trouble', key: this.#asked.key, step: 'launch', error });
      this.#last = { code: error.code, says: error.message, evidence: evidenceOf(error) };
      this.#hindrance = this.#last;
      return this.judge(undefined, FAILURES[error.code].retry !== 'later');
    }
  }

  /** Says whether a launched script is to be given up, from what is in its way now. */
  judge(trouble: Trouble | undefined, final = trouble?.final ?? false): Refusal | undefined {
    const since = this.#begin();
    if (trouble) this.#last = trouble;
    const isOver = this.#room.now().getTime() - since > this.#room.limits.launchTimeoutMs;
    return final || isOver ? this.#last : undefined;
  }

  #begin(): number {
    this.#since ??= this.#room.now().getTime();
    return this.#since;
  }
}

function evidenceOf({ detail }: Fault): Readonly<Record<string, unknown>> {
  const { evidence } = detail;
  return typeof evidence === 'object' && evidence !== null ? { ...evidence } : { ...detail };
}

function isOfLaunch(code: FailureCode): boolean {
  return code === 'RUNNER_NOT_STARTED' || FAILURES[code].category === 'cluster';
}
