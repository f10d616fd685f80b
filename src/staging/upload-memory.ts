/**
 * The bytes that all uploads together may hold in memory (invariant 13).
 *
 * An upload that finds it full writes what it has, pauses its source, and goes on when some of the bytes of all are
 * written. Nobody holds bytes without a write under way while it is full, so that none waits for ever.
 */
export class UploadMemory {
  readonly #limitBytes: number;
  readonly #waiting = new Set<() => void>();
  #heldBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  get isFull(): boolean {
    return this.#heldBytes >= this.#limitBytes;
  }

  take(bytes: number): void {
    this.#heldBytes += bytes;
  }

  give(bytes: number): void {
    this.#heldBytes -= bytes;
    if (this.isFull || this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resume of waiting) resume();
  }

  /** Calls `resume` once when there is room; the answer takes that back. */
  whenRoom(resume: () => void): () => void {
    this.#waiting.add(resume);
    return () => void this.#waiting.delete(resume);
  }
}
