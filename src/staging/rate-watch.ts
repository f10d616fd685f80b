import { performance } from 'node:perf_hooks';
import { Fault } from '../protocol/fault.ts';

export interface RateWatchOptions {
  /** A client must be at least this fast in each window of `rateWindowMs`; time in which we made it wait is not counted. */
  readonly minBytesPerSecond: number;
  readonly rateWindowMs: number;
}

/** Watches how fast bytes arrive, and calls `slow` once with UPLOAD_TOO_SLOW when they do not. */
export class RateWatch {
  readonly #timer: NodeJS.Timeout;
  #bytes = 0;
  #pausedAt: number | undefined;
  #pausedMs = 0;

  constructor(options: RateWatchOptions, slow: (fault: Fault) => void) {
    let windowFrom = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      const fault = this.#judge(options, now - windowFrom, now);
      windowFrom = now;
      if (fault) slow(fault);
    }, options.rateWindowMs);
  }

  received(bytes: number): void {
    this.#bytes += bytes;
  }

  /** We make the client wait from now on. */
  pause(): void {
    this.#pausedAt ??= performance.now();
  }

  resume(): void {
    if (this.#pausedAt !== undefined) this.#pausedMs += performance.now() - this.#pausedAt;
    this.#pausedAt = undefined;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Judges one window and begins the next. */
  #judge(
    { minBytesPerSecond, rateWindowMs }: RateWatchOptions,
    windowMs: number,
    now: number,
  ): Fault | undefined {
    const listenedMs = windowMs - this.#pausedMs - (now - (this.#pausedAt ?? now));
    const bytes = this.#bytes;
    [this.#bytes, this.#pausedMs] = [0, 0];
    if (this.#pausedAt !== undefined) this.#pausedAt = now;
    // A window in which we made it wait most of the time says nothing about the client.
    if (listenedMs < rateWindowMs / 2 || bytes >= (minBytesPerSecond * listenedMs) / 1000) return undefined;
    const message = `${bytes} bytes arrived in ${Math.round(listenedMs)} ms, and ${minBytesPerSecond} bytes/s are the minimum`;
    return new Fault('UPLOAD_TOO_SLOW', message, { detail: { minBytesPerSecond } });
  }
}
