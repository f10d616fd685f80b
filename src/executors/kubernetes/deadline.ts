/** The time for something was over before it was done. */
export class DeadlinePassed extends Error {
  constructor(deadlineMs: number) {
    super(`nothing after ${deadlineMs} ms`);
    this.name = 'DeadlinePassed';
  }
}

/** Until when, and who may end it before. */
export interface Limits {
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs `work` and returns with it, at the deadline, or when `signal` aborts, whatever `work` does by then.
 *
 * The signal that `work` gets aborts in both cases. Nothing stays attached to a signal that lives longer.
 * @throws {DeadlinePassed} at the deadline; the reason of `signal` when it aborts.
 */
export async function withDeadline<T>(
  { deadlineMs, signal }: Limits,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const ending = new AbortController();
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const end = (reason: Error): void => {
    reject(reason);
    ending.abort(reason);
  };
  const aborted = (): void => end(reasonOf(signal));
  const timer = setTimeout(() => end(new DeadlinePassed(deadlineMs)), deadlineMs);
  signal?.addEventListener('abort', aborted);
  try {
    return await Promise.race([work(ending.signal), ended]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', aborted);
  }
}

/** The reason of an aborted signal, as an error. */
export function reasonOf(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new Error('aborted', { cause: reason });
}
