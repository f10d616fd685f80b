/** Lets a loop sleep until somebody has news for it, and never misses news that came while it worked. */
export class Wakeup {
  #pending = false;
  readonly #sleepers = new Set<() => void>();

  wake(): void {
    this.#pending = true;
    for (const sleeper of [...this.#sleepers]) sleeper();
  }

  /** Returns at the next wake, at one that came since the last sleep, after `ms`, or when `signal` aborts. */
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.#pending && !signal.aborted) await this.#until(ms, signal);
    this.#pending = false;
  }

  /** As sleep, for those who only listen: their waking uses nothing up. */
  async next(ms: number, signal: AbortSignal): Promise<void> {
    if (!signal.aborted) await this.#until(ms, signal);
  }

  async #until(ms: number, signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#sleepers.delete(done);
        // One signal serves many sleeps: what stayed attached would pile up for the life of the script.
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#sleepers.add(done);
      signal.addEventListener('abort', done);
    });
  }
}
