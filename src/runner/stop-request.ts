import type { StoppedBy } from '../protocol/end-record.ts';

/** setTimeout() takes 2^31 - 1 ms, 24.8 days, and fires at once beyond. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** `storage`: the volume that the script works on is lost. */
export type StopReason = StoppedBy | 'storage';

/** The wish that the script ends, whoever had it first: its deadline, a signal to the runner, the loss of its volume. */
export class StopRequest {
  /** Settles at the first request. */
  readonly asked: Promise<StopReason>;
  readonly #resolve: (by: StopReason) => void;
  #by: StopReason | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<StopReason>();
    this.asked = promise;
    this.#resolve = resolve;
  }

  get by(): StopReason | null {
    return this.#by;
  }

  ask(by: StopReason): void {
    this.#by ??= by;
    this.#resolve(this.#by);
  }

  /** Asks by itself after `ms`, until `disarm`. */
  arm(ms: number): void {
    const step = Math.min(ms, MAX_TIMER_MS);
    this.#timer = setTimeout(() => (ms > step ? this.arm(ms - step) : this.ask('deadline')), step);
  }

  disarm(): void {
    clearTimeout(this.#timer);
  }
}
