/**
 * Runs `work` on every item, at most `limit` at once.
 *
 * After the first error no further item begins; it is thrown when those under way have ended, so that whoever cleans
 * up afterwards does not race with them.
 */
export async function inParallel<T>(
  items: Iterable<T>,
  limit: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  // The workers share one iterator, which each of them takes its next item from.
  const queue = Iterator.from(items);
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      try {
        await work(item);
      } catch (error) {
        failures.push(error);
      }
      if (failures.length > 0) return;
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
  if (failures.length > 0) throw failures[0];
}
