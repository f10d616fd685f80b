/** Nothing came for longer than it may: nobody knows whether there is still somebody at the other end. */
export class SilentStream extends Error {
  constructor(limitMs: number) {
    super(`nothing came for ${limitMs} ms`);
    this.name = 'SilentStream';
  }
}

/**
 * Gives the chunks of `body` on, until one of them lets wait longer than `limitMs`. The time in which whoever iterates
 * is busy does not count.
 *
 * @throws {SilentStream} when nothing came; `cut` was called with the same error, which has to end the stream.
 */
export async function* untilSilent(
  body: AsyncIterable<Buffer>,
  limitMs: number,
  cut: (error: SilentStream) => void,
): AsyncGenerator<Buffer, void, void> {
  const iterator = body[Symbol.asyncIterator]();
  let isDone = false;
  try {
    for (;;) {
      const next = await nextWithin(iterator, limitMs, cut);
      isDone = next.done === true;
      if (next.done === true) return;
      yield next.value;
    }
  } catch (error) {
    // A stream that broke has nothing to be closed.
    isDone = true;
    throw error;
  } finally {
    if (!isDone) await iterator.return?.();
  }
}

async function nextWithin(
  iterator: AsyncIterator<Buffer>,
  limitMs: number,
  cut: (error: SilentStream) => void,
): Promise<IteratorResult<Buffer>> {
  const { promise: silent, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const error = new SilentStream(limitMs);
    reject(error);
    cut(error);
  }, limitMs);
  try {
    return await Promise.race([iterator.next(), silent]);
  } finally {
    clearTimeout(timer);
  }
}
