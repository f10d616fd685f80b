import type { ApiObject } from './watch-event.ts';

interface Listeners<Raw, Kept> {
  readonly keep: (object: Raw) => Kept | undefined;
  readonly changed: (name: string, now: Kept | undefined, before: Kept | undefined) => void;
  /** Told of what `keep` or `changed` throw. */
  readonly failed: (error: unknown) => void;
}

/** Which object a name stands for: names are given again, uids are not. */
interface Identity {
  readonly uid: string | undefined;
  readonly version: string | undefined;
}

/** A list that is on its way, over several pages. */
export interface Listing<Raw> {
  add(object: Raw): void;
  /** Makes it the truth: what is not in it is gone. */
  end(): void;
}

/** The objects that a watch knows, and what is told when they change. What a listener throws never gets out of here. */
export class WatchedObjects<Raw extends ApiObject, Kept> {
  readonly kept = new Map<string, Kept>();
  readonly #identities = new Map<string, Identity>();
  readonly #listeners: Listeners<Raw, Kept>;

  constructor(listeners: Listeners<Raw, Kept>) {
    this.#listeners = listeners;
  }

  beginListing(): Listing<Raw> {
    const found = new Map<string, { identity: Identity; kept: Kept }>();
    return {
      add: (object) => {
        const kept = this.#keep(object);
        if (kept !== undefined) found.set(nameOf(object), { identity: identityOf(object), kept });
      },
      end: () => {
        for (const name of [...this.kept.keys()]) if (!found.has(name)) this.#remove(name);
        for (const [name, { identity, kept }] of found) this.#put(name, identity, kept);
      },
    };
  }

  /** Takes in what a watch says of one object. */
  apply(object: Raw, isDeleted: boolean): void {
    const name = nameOf(object);
    const kept = this.#keep(object);
    if (kept === undefined) this.#remove(name);
    else if (isDeleted) this.#remove(name, kept);
    else this.#put(name, identityOf(object), kept);
  }

  #put(name: string, identity: Identity, kept: Kept): void {
    const known = this.#identities.get(name);
    if (known && known.uid !== identity.uid) this.#remove(name);
    // A list after a watch brings much that is known already.
    else if (known && known.version === identity.version) return;
    const before = this.kept.get(name);
    this.#identities.set(name, identity);
    this.kept.set(name, kept);
    this.#tell(name, kept, before);
  }

  /** `last` is how it was when it went, where that is known. */
  #remove(name: string, last?: Kept): void {
    const before = last ?? this.kept.get(name);
    this.#identities.delete(name);
    if (this.kept.delete(name)) this.#tell(name, undefined, before);
  }

  #keep(object: Raw): Kept | undefined {
    try {
      return this.#listeners.keep(object);
    } catch (error) {
      this.#listeners.failed(error);
      return undefined;
    }
  }

  #tell(name: string, now: Kept | undefined, before: Kept | undefined): void {
    try {
      this.#listeners.changed(name, now, before);
    } catch (error) {
      this.#listeners.failed(error);
    }
  }
}

function nameOf({ metadata }: ApiObject): string {
  return metadata?.name ?? '';
}

function identityOf({ metadata }: ApiObject): Identity {
  return { uid: metadata?.uid, version: metadata?.resourceVersion };
}
