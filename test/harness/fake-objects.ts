import type { ApiObject } from '../../src/executors/kubernetes/watch-event.ts';
import type { Exchange } from './fake-api-server.ts';

export interface FakeObject extends ApiObject {
  readonly metadata: { readonly name: string; readonly uid: string; readonly resourceVersion: string };
  readonly value: number;
}

interface Change {
  readonly version: number;
  readonly line: string;
}

/** Objects of one kind with a history, as an API server keeps them: list in pages, watch from a version, forget. */
export class FakeObjects {
  readonly objects = new Map<string, FakeObject>();
  readonly watchers = new Set<Exchange>();
  readonly #history: Change[] = [];
  #version = 100;
  #oldest = 0;
  #uids = 0;
  /** The most objects of a page, whatever was asked for. */
  pageLimit = 1000;

  put(name: string, value: number): void {
    const uid = this.objects.get(name)?.metadata.uid ?? `uid-${(this.#uids += 1)}`;
    const type = this.objects.has(name) ? 'MODIFIED' : 'ADDED';
    const object = { metadata: { name, uid, resourceVersion: String((this.#version += 1)) }, value };
    this.objects.set(name, object);
    this.#tell(type, object);
  }

  remove(name: string): void {
    const object = this.objects.get(name);
    if (object === undefined) return;
    this.objects.delete(name);
    const metadata = { ...object.metadata, resourceVersion: String((this.#version += 1)) };
    this.#tell('DELETED', { ...object, metadata });
  }

  /** Something else changes, of which this watch is not told. */
  advance(): void {
    this.#version += 1;
  }

  bookmark(): void {
    for (const watcher of this.watchers) {
      const object = { metadata: { resourceVersion: String(this.#version) } };
      void watcher.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
    }
  }

  /** Forgets the history, as after an hour: who watches from before is told so. */
  forget(): void {
    this.#history.length = 0;
    this.#oldest = this.#version;
  }

  /** Does something to every open watch, and forgets about them. */
  disturb(how: (watcher: Exchange) => void): void {
    const open = [...this.watchers];
    this.watchers.clear();
    open.forEach(how);
  }

  answer(exchange: Exchange): void {
    if ('watch' in exchange.call.query) this.#watch(exchange);
    else this.#list(exchange);
  }

  #list(exchange: Exchange): void {
    const { limit, continue: from = '0' } = exchange.call.query;
    const all = [...this.objects.values()];
    const end = Number(from) + Math.min(Number(limit ?? all.length), this.pageLimit);
    const more = end < all.length ? { continue: String(end) } : {};
    const metadata = { resourceVersion: String(this.#version), ...more };
    exchange.json(200, { kind: 'List', metadata, items: all.slice(Number(from), end) });
  }

  #watch(exchange: Exchange): void {
    const from = Number(exchange.call.query['resourceVersion']);
    if (from < this.#oldest) return exchange.refuse(410, 'Expired', `too old resource version: ${from}`);
    exchange.begin();
    for (const { version, line } of this.#history) if (version > from) void exchange.write(line);
    this.watchers.add(exchange);
    exchange.onClose(() => this.watchers.delete(exchange));
  }

  #tell(type: string, object: FakeObject): void {
    const line = `${JSON.stringify({ type, object })}\n`;
    this.#history.push({ version: this.#version, line });
    for (const watcher of this.watchers) void watcher.write(line);
  }
}
