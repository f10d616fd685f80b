import type { ScriptKey } from '../../protocol/ticket.ts';
import type { Executor } from '../executor.ts';

/** Who wants to know what becomes of a script, and until when. */
export type ScriptWatch = Parameters<Executor['watch']>[2];

interface Entry {
  readonly watch: ScriptWatch;
  readonly aborted: () => void;
}

/** The watch of each script, one at a time. Nothing stays attached to the signal of one that is over. */
export class ScriptWatches {
  readonly #entries = new Map<ScriptKey, Entry>();

  /** Puts `watch` in the place of the one before it; one that has aborted already watches nothing. */
  set(key: ScriptKey, watch: ScriptWatch): void {
    this.drop(key);
    if (watch.signal.aborted) return;
    const aborted = (): void => this.drop(key);
    watch.signal.addEventListener('abort', aborted);
    this.#entries.set(key, { watch, aborted });
  }

  has(key: ScriptKey): boolean {
    return this.#entries.has(key);
  }

  get(key: ScriptKey): ScriptWatch | undefined {
    return this.#entries.get(key)?.watch;
  }

  drop(key: ScriptKey): void {
    const entry = this.#entries.get(key);
    entry?.watch.signal.removeEventListener('abort', entry.aborted);
    this.#entries.delete(key);
  }

  clear(): void {
    for (const key of [...this.#entries.keys()]) this.drop(key);
  }
}
