import { setTimeout as delay } from 'node:timers/promises';

export interface ServerPulseOptions {
  /** Asks the API server for something small; throws where it does not answer as it should. */
  readonly ask: (signal: AbortSignal) => Promise<unknown>;
  /** When it was last heard by others, in ms since 1970; 0 where it was not. */
  readonly heardMs: () => number;
  readonly everyMs: number;
  /** It has stopped to answer. */
  readonly lost: () => void;
}

/** Since when there is no answer, in ms since 1970, and what the last question met. */
export interface NoPulse {
  readonly sinceMs: number;
  readonly error: unknown;
}

/**
 * Asks an API server from which nothing comes whether it still answers.
 *
 * Where nothing happens a watch says nothing for a minute, and one that takes connections and answers nothing is as
 * silent: without a question the two are told apart only when that minute is over.
 */
export class ServerPulse {
  readonly #options: ServerPulseOptions;
  readonly #closing = new AbortController();
  readonly #ended: Promise<void>;
  #failure: NoPulse | undefined;

  constructor(options: ServerPulseOptions) {
    this.#options = options;
    this.#ended = this.#run();
  }

  /** Undefined while it answers, or is heard without being asked. */
  get failure(): NoPulse | undefined {
    const { sinceMs = 0 } = this.#failure ?? {};
    return this.#options.heardMs() > sinceMs ? undefined : this.#failure;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#ended;
  }

  async #run(): Promise<void> {
    const { everyMs, heardMs, lost } = this.#options;
    const { signal } = this.#closing;
    for (;;) {
      // Aborted when this is closed, which is no error.
      await delay(everyMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      const heard = heardMs();
      // Who was never heard is asked by the watch, which lists.
      const isQuiet = heard > 0 && Date.now() - heard >= everyMs;
      const error = isQuiet ? await this.#ask() : undefined;
      const before = this.failure;
      this.#failure = error === undefined ? undefined : { sinceMs: before?.sinceMs ?? Date.now(), error };
      if (this.#failure && before === undefined && !signal.aborted) lost();
    }
  }

  async #ask(): Promise<unknown> {
    try {
      await this.#options.ask(this.#closing.signal);
      return undefined;
    } catch (error) {
      return error;
    }
  }
}
