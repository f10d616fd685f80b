import { promises as fs } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { meaningOf } from '../mount/errno.ts';
import type { Change } from './node-words.ts';

/** Before a change, after it, or neither: nothing was seen of the file yet, or its handle is stale. */
type Sight = 'before' | 'after' | 'nothing';

const LOOK_MS = 10;
export const OLD = 'old';
export const NEW = 'new';

/**
 * Looks at a file again and again, as Longshore does: by opening it, never by its attributes alone.
 *
 * It has to see what was before the change, so that whatever the client keeps of that is in its cache.
 */
export class ChangeWatch {
  readonly #look: () => Promise<Sight>;
  readonly #sawBefore = Promise.withResolvers<boolean>();
  readonly #after = Promise.withResolvers<number | null>();
  #changedAt: number | undefined;

  /** `seenMs` bounds both: the sight of what was before, and that of the change from when it was told. */
  constructor(change: Change, path: string, seenMs: number) {
    this.#look = LOOKS[change](path);
    void this.#run(seenMs).then(this.#after.resolve, this.#after.reject);
    // A watch of a round that is given up has nobody who asks.
    this.#after.promise.catch(() => undefined);
  }

  /** False where what was before the change was not seen in time. */
  get sawBefore(): Promise<boolean> {
    return this.#sawBefore.promise;
  }

  /** The change was made, says the other side. */
  changed(): void {
    this.#changedAt = performance.now();
  }

  /** Milliseconds from that to its sight; null where it was not seen in time. Rejects with an error of the volume. */
  get after(): Promise<number | null> {
    return this.#after.promise;
  }

  async #run(seenMs: number): Promise<number | null> {
    const until = performance.now() + seenMs;
    const isLate = (): boolean => performance.now() > (this.#changedAt ?? until) + seenMs;
    for (let sight = await this.#look(); ; sight = await this.#look()) {
      if (sight === 'before') this.#sawBefore.resolve(true);
      if (sight === 'after') break;
      if (performance.now() > until) this.#sawBefore.resolve(false);
      if (isLate()) return null;
      await pause(LOOK_MS);
    }
    // It may be seen before the word of it has come.
    const seenAt = performance.now();
    this.#sawBefore.resolve(false);
    return Math.max(0, seenAt - (this.#changedAt ?? seenAt));
  }
}

const LOOKS: Readonly<Record<Change, (path: string) => () => Promise<Sight>>> = {
  create: (path) => async () => ((await textIn(path)) === undefined ? 'before' : 'after'),
  append: (path) => async () => sightOf(await textIn(path), OLD, OLD + NEW),
  rename: (path) => async () => sightOf(await textIn(path), OLD, NEW),
  delete: (path) => {
    let wasThere = false;
    return async () => {
      const isThere = (await textIn(path)) !== undefined;
      wasThere ||= isThere;
      if (isThere) return 'before';
      return wasThere ? 'after' : 'nothing';
    };
  },
  list: (path) => async () => ((await namesBeside(path)).includes('file') ? 'after' : 'before'),
};

function sightOf(text: string | undefined, before: string, after: string): Sight {
  if (text === after) return 'after';
  return text === before ? 'before' : 'nothing';
}

/** Undefined for a file that is not there; a stale handle is like that for one look. */
async function textIn(path: string): Promise<string | undefined> {
  try {
    return await fs.readFile(path, 'latin1');
  } catch (error) {
    if (['absent', 'stale'].includes(meaningOf(error))) return undefined;
    throw error;
  }
}

async function namesBeside(path: string): Promise<string[]> {
  try {
    return await fs.readdir(dirname(path));
  } catch (error) {
    if (['absent', 'stale'].includes(meaningOf(error))) return [];
    throw error;
  }
}
