import type { Exchange } from '../../harness/fake-api-server.ts';

type Json = Readonly<Record<string, unknown>>;

/** An object as the API server gives it out. */
export interface MadeObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
    readonly ownerReferences?: readonly unknown[];
  };
  readonly [member: string]: unknown;
}

interface Change {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: MadeObject;
}

/** Objects of one kind, listed and watched by the selectors that a test of scripts needs. */
export class MadeObjects {
  readonly all = new Map<string, MadeObject>();
  readonly watchers = new Set<Exchange>();
  /** Changes are made and nobody who watches hears of them, as when a watch is late. */
  isQuiet = false;
  readonly #history: Change[] = [];
  readonly #untold: Change[] = [];
  #version = 100;

  /** Makes an object, or changes the one of that name. */
  put(name: string, members: Json): MadeObject {
    const before = this.all.get(name);
    const { metadata = {}, ...rest } = members;
    const uid = before?.metadata.uid ?? `uid-${name}-${this.#version}`;
    const object: MadeObject = {
      ...rest,
      metadata: { ...(metadata as Json), name, uid, resourceVersion: this.#nextVersion() },
    };
    this.all.set(name, object);
    this.#tell({ type: before ? 'MODIFIED' : 'ADDED', object });
    return object;
  }

  /** Changes some members of an object that is there, and some of its metadata. */
  patch(name: string, members: Json, metadata: Json = {}): void {
    const before = this.all.get(name);
    if (before) this.put(name, { ...before, ...members, metadata: { ...before.metadata, ...metadata } });
  }

  remove(name: string): void {
    const before = this.all.get(name);
    if (before === undefined) return;
    this.all.delete(name);
    const metadata = { ...before.metadata, resourceVersion: this.#nextVersion() };
    this.#tell({ type: 'DELETED', object: { ...before, metadata } });
  }

  /** Tells those who watch what they were not told. */
  catchUp(): void {
    this.isQuiet = false;
    for (const change of this.#untold.splice(0)) for (const watcher of this.watchers) write(watcher, change);
  }

  /** Ends every open watch in this way. */
  disturb(how: (watcher: Exchange) => void): void {
    const open = [...this.watchers];
    this.watchers.clear();
    open.forEach(how);
  }

  answer(exchange: Exchange): void {
    const { query } = exchange.call;
    if (!('watch' in query)) {
      const items = [...this.all.values()].filter((object) => isSelected(object, query));
      return exchange.json(200, { metadata: { resourceVersion: String(this.#version) }, items });
    }
    exchange.begin();
    this.watchers.add(exchange);
    exchange.onClose(() => this.watchers.delete(exchange));
    if (this.isQuiet) return;
    for (const change of this.#history)
      if (Number(change.object.metadata.resourceVersion) > Number(query['resourceVersion']))
        write(exchange, change);
  }

  #nextVersion(): string {
    return String((this.#version += 1));
  }

  #tell(change: Change): void {
    this.#history.push(change);
    if (this.isQuiet) this.#untold.push(change);
    else for (const watcher of this.watchers) write(watcher, change);
  }
}

function write(watcher: Exchange, change: Change): void {
  if (isSelected(change.object, watcher.call.query)) void watcher.write(`${JSON.stringify(change)}\n`);
}

function isSelected(object: MadeObject, query: Readonly<Record<string, string>>): boolean {
  const labels = termsOf(query['labelSelector']);
  const fields = termsOf(query['fieldSelector']);
  return (
    labels.every(([name, value]) => object.metadata.labels?.[name] === value) &&
    fields.every(([path, value]) => memberAt(object, path) === value)
  );
}

function termsOf(selector = ''): (readonly [string, string])[] {
  return selector.split(',').flatMap((term) => {
    const [name = '', value = ''] = term.split('=');
    return name === '' ? [] : [[name, value] as const];
  });
}

function memberAt(object: unknown, path: string): unknown {
  return path
    .split('.')
    .reduce<unknown>(
      (at, name) => (typeof at === 'object' && at !== null ? Reflect.get(at, name) : undefined),
      object,
    );
}
