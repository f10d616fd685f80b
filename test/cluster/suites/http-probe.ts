import { setTimeout as pause } from 'node:timers/promises';
import type { AgentProcess } from '../../harness/agent-process.ts';

const PAUSE_MS = 100;

/** Asks an agent again and again whether it answers. */
export class HttpProbe {
  /** What was no answer of 200. */
  readonly refusals: string[] = [];
  slowestMs = 0;
  answers = 0;
  readonly #agent: AgentProcess;
  readonly #paths: readonly string[];
  readonly #asking: Promise<void>;
  #isOver = false;

  constructor(agent: AgentProcess, paths: readonly string[]) {
    this.#agent = agent;
    this.#paths = paths;
    this.#asking = this.#ask();
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#asking;
  }

  async #ask(): Promise<void> {
    while (!this.#isOver) {
      for (const path of this.#paths) {
        const askedAt = performance.now();
        const answer = await this.#agent.call('GET', path).catch(String);
        this.slowestMs = Math.max(this.slowestMs, performance.now() - askedAt);
        this.answers += 1;
        const { status, text } = typeof answer === 'string' ? { status: 0, text: answer } : answer;
        if (status !== 200) this.refusals.push(`${path}: ${status} ${text}`);
      }
      await pause(PAUSE_MS);
    }
  }
}
