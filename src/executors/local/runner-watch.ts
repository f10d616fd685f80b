import { watch, type FSWatcher } from 'node:fs';
import type { ScriptKey } from '../../protocol/ticket.ts';

/** One script that somebody waits for. */
export interface Watched {
  readonly changed: () => void;
  /** The file that its runner writes to, as far as it is known. */
  readonly output: string | undefined;
  /** Whether the runner has ended; asked for runners that are no children of this process. */
  readonly hasEnded: (() => Promise<boolean>) | undefined;
  readonly signal: AbortSignal;
}

interface Entry extends Watched {
  watcher: FSWatcher | undefined;
}

const POLL_MS = 250;

/**
 * Tells when a runner wrote something or ended: by inotify for files of the local disk, and by one timer for the
 * runners of an earlier agent, whose end no signal tells this one.
 */
export class RunnerWatch {
  readonly #entries = new Map<ScriptKey, Entry>();
  #timer: NodeJS.Timeout | undefined;

  /** Watches `key` in place of what was watched for it before. */
  add(key: ScriptKey, watched: Watched): void {
    this.remove(key);
    if (watched.signal.aborted) return;
    const entry: Entry = { ...watched, watcher: watchOutput(watched) };
    this.#entries.set(key, entry);
    watched.signal.addEventListener('abort', () => this.#drop(key, entry), { once: true });
    this.#timer ??= setInterval(() => void this.#poll(), POLL_MS);
  }

  /** Goes on with another file; nothing happens where nobody watches `key`. */
  retarget(key: ScriptKey, output: string): void {
    const entry = this.#entries.get(key);
    if (entry) this.add(key, { ...entry, output });
  }

  /** Passes on news that came another way. */
  tell(key: ScriptKey): void {
    this.#entries.get(key)?.changed();
  }

  remove(key: ScriptKey): void {
    const entry = this.#entries.get(key);
    if (entry) this.#drop(key, entry);
  }

  close(): void {
    for (const key of [...this.#entries.keys()]) this.remove(key);
  }

  #drop(key: ScriptKey, entry: Entry): void {
    entry.watcher?.close();
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
    if (this.#entries.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #poll(): Promise<void> {
    for (const entry of [...this.#entries.values()]) {
      // Without inotify, where its limit is reached for example, every tick may be news.
      const isNews = entry.watcher === undefined || (await entry.hasEnded?.()) === true;
      if (isNews) entry.changed();
    }
  }
}

function watchOutput({ output, changed }: Watched): FSWatcher | undefined {
  if (output === undefined) return undefined;
  try {
    const watcher = watch(output, { persistent: false }, changed);
    // The file was removed, or the kernel gave up on it: the end of the runner is still noticed.
    watcher.on('error', () => watcher.close());
    return watcher;
  } catch {
    // ENOSPC is inotify's limit, ENOENT a file that is gone: the timer looks instead.
    return undefined;
  }
}
