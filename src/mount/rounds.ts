import { performance } from 'node:perf_hooks';

export interface RoundsOptions {
  /** One round; whatever it throws is a bug. */
  readonly work: () => Promise<void>;
  /** From the start of one round to that of the next, asked anew after each. */
  readonly intervalMs: () => number;
}

/** However often somebody asks for a round at once. */
const SHORTEST_PAUSE_MS = 100;

/** Does the same work again and again, never twice at once, and sooner where somebody asks for it. */
export class Rounds {
  readonly #options: RoundsOptions;
  readonly #waiting: (() => void)[] = [];
  #wake: (() => void) | undefined;
  #isClosed = false;
  #isOver: Promise<void> = Promise.resolve();

  constructor(options: RoundsOptions) {
    this.#options = options;
  }

  /** Begins with a round at once. */
  start(): void {
    this.#isOver = this.#run();
  }

  /** Asks for a round that begins after now; resolves when it is over, or at once where there are none any more. */
  async next(): Promise<void> {
    if (this.#isClosed) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#waiting.push(() => resolve(undefined));
    this.#wake?.();
    await promise;
  }

  /** Ends after the round that is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake?.();
    await this.#isOver;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async #run(): Promise<void> {
    while (!this.#isClosed) {
      const begun = performance.now();
      const waiting = this.#waiting.splice(0);
      await this.#options.work();
      for (const resolve of waiting) resolve();
      await this.#pause(begun);
    }
  }

  async #pause(begun: number): Promise<void> {
    const past = performance.now() - begun;
    const rest = (ms: number): number => Math.max(0, ms - past);
    await this.#sleep(rest(Math.min(SHORTEST_PAUSE_MS, this.#options.intervalMs())), () => this.#isClosed);
    await this.#sleep(rest(this.#options.intervalMs()), () => this.#isClosed || this.#waiting.length > 0);
  }

  async #sleep(ms: number, isEnough: () => boolean): Promise<void> {
    if (isEnough()) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(resolve, ms, undefined);
    this.#wake = () => {
      if (isEnough()) resolve(undefined);
    };
    await promise;
    clearTimeout(timer);
    this.#wake = undefined;
  }
}
