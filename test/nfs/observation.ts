/** What the agent of a lane believes and what its mount answers, while something happens to the storage. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Lane } from './lane.ts';

export interface Seen {
  /** Seconds after the start of the observation. */
  readonly at: number;
  readonly what: string;
}

const LOOK_EVERY_MS = 500;
const ANSWER_DEADLINE_MS = 20_000;

export class Observation {
  /** Changes of the agent's verdict, and how its mount answers a fresh process that reads the epoch. */
  readonly verdicts: Seen[] = [];
  /** Of the agent's answers, in milliseconds. */
  readonly answerMs: number[] = [];
  readonly #lane: Lane;
  readonly #ending = new AbortController();
  readonly #startedAt = performance.now();
  #polling: Promise<void> = Promise.resolve();

  private constructor(lane: Lane) {
    this.#lane = lane;
  }

  /** Begins to look; `end` must follow. */
  static async begin(lane: Lane): Promise<Observation> {
    await lane.run('witness_start {}');
    const observation = new Observation(lane);
    observation.#polling = observation.#poll();
    return observation;
  }

  get seconds(): number {
    return (performance.now() - this.#startedAt) / 1000;
  }

  /** Seconds of the first time that the agent believed `verdict`, not earlier than `after`. */
  first(verdict: string, after = 0): number | undefined {
    return this.verdicts.find(({ at, what }) => what === verdict && at >= after)?.at;
  }

  /** Whether the agent believes `verdict` now. */
  is(verdict: string): boolean {
    return this.verdicts.at(-1)?.what === verdict;
  }

  /** Ends the looking and returns what the mount answered. */
  async end(): Promise<Seen[]> {
    this.#ending.abort();
    await this.#polling;
    const [now, ...log] = (await this.#lane.run('witness_end {}')).trim().split('\n');
    // The clock of the guest is another one than ours; both have seen the same moment just now.
    const offset = this.seconds - Number(now);
    return log.map((line) => {
      const [at = '', what = ''] = line.split(' ');
      return { at: Number(at) + offset, what };
    });
  }

  async #poll(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      const at = this.seconds;
      const what = await this.#verdict();
      this.answerMs.push((this.seconds - at) * 1000);
      if (!this.is(what)) this.verdicts.push({ at, what });
      await pause(LOOK_EVERY_MS, undefined, { signal: this.#ending.signal }).catch(() => undefined);
    }
  }

  async #verdict(): Promise<string> {
    try {
      const { url, token } = this.#lane;
      const answer = await fetch(`${url}/v1/mount`, {
        headers: { authorization: `Bearer ${token}` },
        signal: AbortSignal.timeout(ANSWER_DEADLINE_MS),
      });
      // Checked against the schema in test/api; here it is read.
      const { verdict } = (await answer.json()) as { verdict?: string };
      return verdict ?? `HTTP ${answer.status}`;
    } catch (error) {
      return error instanceof Error && error.name === 'TimeoutError' ? 'silent' : 'away';
    }
  }
}
