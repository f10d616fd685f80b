/** Lets so many launches go on at once; others wait in their order. */
export class LaunchLimit {
  readonly #limit: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(limit: number) {
    if (!Number.isInteger(limit) || limit < 1)
      throw new RangeError(`launchLimit is at least 1, not ${limit}`);
    this.#limit = limit;
  }

  async run<T>(launch: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#limit) await new Promise<void>((enter) => this.#waiting.push(enter));
    else this.#running += 1;
    try {
      return await launch();
    } finally {
      const next = this.#waiting.shift();
      // The place goes to whoever waits, or becomes free.
      if (next) next();
      else this.#running -= 1;
    }
  }
}
