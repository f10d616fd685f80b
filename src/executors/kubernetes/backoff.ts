import { randomInt } from 'node:crypto';

const FIRST_MS = 200;
const LONGEST_MS = 30_000;

/** Pauses between attempts: 0.2 s that double up to 30 s, half of each by chance, so that agents do not come in step. */
export class Backoff {
  readonly #longestMs: number;
  #attempt = 0;
  #isWoken = false;
  #wake: () => void = () => undefined;

  constructor(longestMs: number = LONGEST_MS) {
    this.#longestMs = longestMs;
  }

  /** It went well: the next pause is a short one again. */
  reset(): void {
    this.#attempt = 0;
  }

  /** Ends the pause, or spares the next one: there is news that makes another attempt worth it. */
  wake(): void {
    this.#attempt = 0;
    this.#isWoken = true;
    this.#wake();
  }

  /** Pauses, at least `leastMs`; returns early when woken or when `signal` aborts. */
  async pause(signal: AbortSignal, leastMs = 0): Promise<void> {
    const doubled = Math.min(this.#longestMs, FIRST_MS * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 16);
    const ms = Math.max(leastMs, doubled / 2 + randomInt(Math.ceil(doubled / 2) + 1));
    if (!this.#isWoken && !signal.aborted) await this.#sleep(ms, signal);
    this.#isWoken = false;
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener('abort', done);
      this.#wake = done;
    });
    this.#wake = () => undefined;
  }
}
