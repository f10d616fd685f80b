import { randomInt } from 'node:crypto';
import type { ApiCaller, ApiEvent, RestartReason } from './api-call.ts';
import { pathFor } from './api-call.ts';
import { ApiRefusal, isExpired } from './api-error.ts';
import { Backoff } from './backoff.ts';
import { withDeadline } from './deadline.ts';
import { LineJoiner } from './line-joiner.ts';
import { SilentStream, untilSilent } from './silence.ts';
import { BrokenEvent, parseWatchEvent, type ApiObject, type WatchEvent } from './watch-event.ts';
import { WatchedObjects } from './watched-objects.ts';

export interface ResourceWatchOptions<Raw, Kept> {
  readonly connection: ApiCaller;
  /** `pods`, `events`; those of the connection's namespace. */
  readonly resource: string;
  /** Selectors. */
  readonly query?: Readonly<Record<string, string>>;
  /** What of an object is held in memory; undefined where it is none of ours, which is as if it were not there. */
  readonly keep: (object: Raw) => Kept | undefined;
  /**
   * Told of every change, in order: `now` is undefined when the object is gone, `before` when it is new. An object that
   * was replaced by another one of its name is told as gone and as new.
   */
  readonly changed: (name: string, now: Kept | undefined, before: Kept | undefined) => void;
  readonly observe: (event: ApiEvent) => void;
  /** @default 75 s: an API server sends a bookmark a minute and a second after the last one, so silence is longer */
  readonly silenceMs?: number;
  /** Until the head of an answer. @default 30 s */
  readonly connectDeadlineMs?: number;
  /** @default 30 s */
  readonly longestPauseMs?: number;
}

interface ObjectList<Raw> {
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items?: readonly Raw[];
}

const PAGE_OBJECTS = 500;
/** An object has 1.5 MiB at most in etcd; JSON may take more. */
const MAX_EVENT_BYTES = 4 * 1024 * 1024;
/** After so many failures in a row nobody trusts the place where the watch is: everything is listed anew. */
const FAILURES_PER_LIST = 3;
/** A watch that held for so long was a good one, also when there was nothing to tell. */
const GOOD_WATCH_MS = 10_000;

/**
 * Knows all objects of one kind that a selector selects, by a list and a watch that goes on from it.
 *
 * It never ends by itself: while the API server is away it tries again, and meanwhile says what it knew last;
 * `lastHeardMs` tells how old that is.
 */
export class ResourceWatch<Kept, Raw extends ApiObject = ApiObject> {
  readonly #options: ResourceWatchOptions<Raw, Kept>;
  readonly #closing = new AbortController();
  readonly #backoff: Backoff;
  readonly #objects: WatchedObjects<Raw, Kept>;
  readonly #firstList = Promise.withResolvers<boolean>();
  readonly #ended: Promise<void>;
  /** Where the watch goes on; undefined where everything has to be listed first. */
  #version: string | undefined;
  #failures = 0;
  #lastHeardMs = 0;
  #isSynced = false;

  constructor(options: ResourceWatchOptions<Raw, Kept>) {
    this.#options = options;
    this.#backoff = new Backoff(options.longestPauseMs);
    this.#objects = new WatchedObjects({
      keep: options.keep,
      changed: options.changed,
      failed: (error) => options.observe({ type: 'callback-failed', resource: options.resource, error }),
    });
    this.#ended = this.#run();
  }

  /** What is known now, by name. */
  get objects(): ReadonlyMap<string, Kept> {
    return this.#objects.kept;
  }

  /** Everything was listed at least once: what is not in `objects` was not there then. */
  get synced(): boolean {
    return this.#isSynced;
  }

  /** When the API server last said something, in ms since 1970; 0 where it has not. */
  get lastHeardMs(): number {
    return this.#lastHeardMs;
  }

  /** Waits for the first list; false when there is none at the deadline, or the watch was closed. */
  async whenSynced(deadlineMs: number): Promise<boolean> {
    return withDeadline({ deadlineMs }, () => this.#firstList.promise).catch(() => false);
  }

  /** Ends it; nothing is told any more when this returns. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#ended;
    this.#firstList.resolve(false);
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const beganAt = performance.now();
      const { reason, error } = await this.#session();
      if (signal.aborted) return;
      this.#failures = ['broken', 'refused'].includes(reason) ? this.#failures + 1 : 0;
      if (reason === 'expired' || this.#failures >= FAILURES_PER_LIST) this.#version = undefined;
      if (performance.now() - beganAt > GOOD_WATCH_MS) this.#backoff.reset();
      this.#options.observe({
        type: 'watch-restart',
        resource: this.#options.resource,
        reason,
        ...(error !== undefined && { error }),
      });
      await this.#backoff.pause(signal);
    }
  }

  /** Lists where that is needed, and watches until the watch ends, however it does. */
  async #session(): Promise<{ readonly reason: RestartReason; readonly error?: unknown }> {
    try {
      this.#version ??= await this.#list();
      await this.#watch(this.#version);
      return { reason: 'ended' };
    } catch (error) {
      return { reason: restartReasonOf(error), error };
    }
  }

  async #list(): Promise<string> {
    const { connection, resource, query } = this.#options;
    const { signal } = this.#closing;
    const listing = this.#objects.beginListing();
    for (let next = ''; ;) {
      const page = await connection.request<ObjectList<Raw>>(
        {
          verb: 'list',
          resource,
          path: pathFor(connection.namespace, resource),
          query: { ...query, limit: String(PAGE_OBJECTS), ...(next !== '' && { continue: next }) },
        },
        { signal },
      );
      for (const object of page.items ?? []) listing.add(object);
      next = page.metadata?.continue ?? '';
      const version = page.metadata?.resourceVersion;
      if (next !== '') continue;
      if (version === undefined) throw new BrokenEvent('a list without a version');
      signal.throwIfAborted();
      listing.end();
      this.#heard();
      this.#isSynced = true;
      this.#firstList.resolve(true);
      return version;
    }
  }

  async #watch(version: string): Promise<void> {
    const { connection, resource, query, silenceMs = 75_000, connectDeadlineMs = 30_000 } = this.#options;
    const cutting = new AbortController();
    const cut = (): void => cutting.abort(this.#closing.signal.reason);
    this.#closing.signal.addEventListener('abort', cut);
    try {
      const { body } = await connection.stream(
        {
          verb: 'watch',
          resource,
          path: pathFor(connection.namespace, resource),
          query: {
            ...query,
            watch: '1',
            allowWatchBookmarks: 'true',
            resourceVersion: version,
            timeoutSeconds: String(240 + randomInt(61)),
          },
        },
        { signal: cutting.signal, connectDeadlineMs },
      );
      await this.#read(untilSilent(body, silenceMs, (error) => cutting.abort(error)));
    } finally {
      this.#closing.signal.removeEventListener('abort', cut);
      cutting.abort();
    }
  }

  async #read(chunks: AsyncIterable<Buffer>): Promise<void> {
    const joiner = new LineJoiner(MAX_EVENT_BYTES);
    for await (const chunk of chunks) {
      if (this.#closing.signal.aborted) return;
      this.#heard();
      for (const { bytes, cut } of joiner.push(chunk)) {
        if (cut) throw new BrokenEvent(`an event has more than ${MAX_EVENT_BYTES} bytes`);
        if (bytes.length > 0) this.#apply(parseWatchEvent<Raw>(bytes.toString('utf8')));
      }
    }
    if (joiner.take().bytes.length > 0) throw new BrokenEvent('the watch ended in the middle of an event');
  }

  #apply({ type, object }: WatchEvent<Raw>): void {
    if (type !== 'BOOKMARK') this.#objects.apply(object, type === 'DELETED');
    this.#version = object.metadata?.resourceVersion;
    this.#failures = 0;
    this.#backoff.reset();
  }

  #heard(): void {
    this.#lastHeardMs = Date.now();
  }
}

/** Names the reason for a restart, as a label of a metric. */
function restartReasonOf(error: unknown): RestartReason {
  if (error instanceof SilentStream) return 'silent';
  if (error instanceof BrokenEvent) return 'broken';
  if (isExpired(error)) return 'expired';
  return isRefusal(error) ? 'refused' : 'reset';
}

function isRefusal(error: unknown): boolean {
  // A right that is missing comes as a fault with the refusal inside.
  return error instanceof ApiRefusal || (error instanceof Error && error.cause instanceof ApiRefusal);
}
