import { stat, watch as watchFile, type FSWatcher } from 'node:fs';
import type { ScriptKey } from '../../protocol/ticket.ts';
import { isRunning, isThere, type ProcessMark } from './machine.ts';

/** Who wants to know, and until when. */
export interface RunWatch {
  readonly changed: () => void;
  readonly signal: AbortSignal;
}

/** What is watched: a file that grows and a process that ends, as far as they are known. */
export interface RunPlace {
  readonly stdout: string | undefined;
  readonly process: ProcessMark | undefined;
}

/** How late the end of a runner is seen that is no child of this agent. */
const PROCESS_POLL_MS = 250;
/** Every so many polls is a closer look: at sizes, for what inotify did not tell, and at which process it is. */
const POLLS_PER_LOOK = 8;

interface Entry {
  readonly watch: RunWatch;
  place: RunPlace;
  watcher: FSWatcher | undefined;
  size: number;
  isTelling: boolean;
}

/**
 * Watches runners: their output through inotify, on local disk, where it works; their end by asking the kernel.
 *
 * One timer for all. A runner that has ended is told once and watched no longer.
 */
export class RunWatcher {
  readonly #entries = new Map<ScriptKey, Entry>();
  #timer: NodeJS.Timeout | undefined;
  #polls = 0;

  /** Watches the runner of `key`, wherever that will be; a later watch of it takes the place of this one. */
  add(key: ScriptKey, watch: RunWatch): void {
    this.drop(key);
    if (watch.signal.aborted) return;
    const place = { stdout: undefined, process: undefined };
    this.#entries.set(key, { watch, place, watcher: undefined, size: -1, isTelling: false });
    this.#timer ??= setInterval(() => this.#poll(), PROCESS_POLL_MS).unref();
  }

  /** Tells a watch what there was to watch when it began, unless something has been launched since. */
  resolve(key: ScriptKey, watch: RunWatch, place: RunPlace): void {
    const entry = this.#entries.get(key);
    if (entry?.watch === watch && entry.place.stdout === undefined) this.#point(entry, place);
  }

  /** Points the watch of `key`, if there is one, at a runner that has just been launched. */
  point(key: ScriptKey, place: RunPlace): void {
    const entry = this.#entries.get(key);
    if (entry) this.#point(entry, place);
  }

  /** Tells that the runner of `key` has ended. */
  tellEnd(key: ScriptKey, { pid }: ProcessMark): void {
    const entry = this.#entries.get(key);
    if (entry?.place.process?.pid !== pid) return;
    this.drop(key);
    this.#tell(entry);
  }

  drop(key: ScriptKey): void {
    this.#entries.get(key)?.watcher?.close();
    this.#entries.delete(key);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const key of [...this.#entries.keys()]) this.drop(key);
  }

  #point(entry: Entry, place: RunPlace): void {
    entry.watcher?.close();
    entry.watcher = undefined;
    entry.place = place;
    entry.size = -1;
    if (place.stdout === undefined) return;
    try {
      entry.watcher = watchFile(place.stdout, { persistent: false }, () => this.#tell(entry));
      entry.watcher.on('error', () => entry.watcher?.close());
    } catch {
      // Not there, or the machine has no more inotify watches: the comparison of sizes does it.
    }
    // What was written before is new too.
    this.#tell(entry);
  }

  #poll(): void {
    this.#polls += 1;
    const isLook = this.#polls % POLLS_PER_LOOK === 0;
    for (const [key, entry] of this.#entries) {
      const { process } = entry.place;
      if (entry.watch.signal.aborted) this.drop(key);
      else if (process && !(isLook ? isRunning(process) : isThere(process))) this.tellEnd(key, process);
      else if (isLook) this.#look(entry);
    }
    if (this.#entries.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(entry: Entry): void {
    const { stdout } = entry.place;
    // Nothing of it is here, a runner of another machine for example: there may always be something new.
    if (stdout === undefined) return this.#tell(entry);
    stat(stdout, (error, stats) => {
      const size = error ? -1 : stats.size;
      if (size !== entry.size) this.#tell(entry);
      entry.size = size;
    });
  }

  /** Once for all that happens in one turn of the event loop. */
  #tell(entry: Entry): void {
    if (entry.isTelling) return;
    entry.isTelling = true;
    setImmediate(() => {
      entry.isTelling = false;
      if (!entry.watch.signal.aborted) entry.watch.changed();
    });
  }
}
