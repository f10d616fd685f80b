import { performance } from 'node:perf_hooks';
import { Fault } from '../protocol/fault.ts';
import { errnoName, meaningOf, storageFault, type ErrnoMeaning } from './errno.ts';

/** One step of an operation at the gate, for metrics, and for tests that stop the world between two of them. */
export interface GateEvent {
  readonly phase: 'begin' | 'end' | 'overdue' | 'refused';
  readonly operation: string;
  readonly path: string;
  /** `ok` or the name of the errno; with `end` only. */
  readonly result?: string;
  readonly seconds?: number;
  /** What the errno means, where there is one. */
  readonly meaning?: ErrnoMeaning;
}

export interface GateOptions {
  /** Operations that may be in the kernel at once; below UV_THREADPOOL_SIZE, so that hung ones leave threads. */
  readonly budget: number;
  /** Operations that may wait for a place. */
  readonly queueLimit: number;
  /** For the wait and for the call, each; afterwards the caller is answered and the call goes on without it. */
  readonly deadlineMs: number;
  /** What operations are refused with now; nothing while the mount is trusted. Asked for each of them. */
  readonly refusal?: () => Fault | undefined;
  readonly observe?: (event: GateEvent) => void;
}

/** How one operation differs from the others. */
export interface PassOptions<T> {
  /** @default the deadline of the gate */
  readonly deadlineMs?: number | undefined;
  /** Gives back what a call brought after its caller had gone: nobody else will close it. */
  readonly late?: (value: T) => Promise<unknown>;
  /** Runs also on a mount that is not trusted: for finding out what is there now. */
  readonly always?: boolean;
  /** Gives something back: is done also on a mount that is not trusted, but there its caller does not wait for it. */
  readonly closing?: boolean;
}

/** As much of the gate as file operations need. */
export type Passage = Pick<Gate, 'run'>;

/** An operation that is in the kernel. */
interface Place {
  readonly operation: string;
  readonly path: string;
  readonly beganAt: number;
  readonly always: boolean;
  /** Its caller was answered without it. */
  overdue: boolean;
}

/** Somebody who waits for a place, or for a call. */
interface Caller {
  readonly enter: () => void;
  readonly refuse: (fault: Fault) => void;
}

/**
 * The only way to the volume: every operation passes here, with a place in a budget and a deadline.
 *
 * A system call on a hung mount cannot be cancelled. It keeps its thread, and its place here, until the kernel lets
 * it go; its caller does not wait for it. When hung calls hold every place, new ones are refused at once.
 * Source: design.md invariant 7; libuv cannot cancel work that has begun.
 */
export class Gate {
  readonly #options: GateOptions;
  readonly #inside = new Map<Place, (fault: Fault) => void>();
  /** Those who wait for a place, first come first served; each takes over the place that is given to it. */
  readonly #waiting = new Set<Caller>();

  constructor(options: GateOptions) {
    this.#options = options;
  }

  /** How many operations are in the kernel, how many of them are past their deadline, and how old the oldest is. */
  get load(): { inside: number; waiting: number; overdue: number; oldestSeconds: number } {
    const places = [...this.#inside.keys()];
    const now = performance.now();
    const oldest = Math.min(now, ...places.map((place) => place.beganAt));
    return {
      inside: places.length,
      waiting: this.#waiting.size,
      overdue: places.filter((place) => place.overdue).length,
      oldestSeconds: (now - oldest) / 1000,
    };
  }

  /**
   * Runs `work`, which makes a system call on the volume at `path`; `operation` is a verb for logs and metrics.
   *
   * @throws {Fault} STORAGE_BUSY without a place in budget or queue; STORAGE_TIMEOUT at the deadline; the STORAGE_ code
   * of the mount while it is not trusted; the STORAGE_ code of the errno otherwise, with the error of the call as cause.
   */
  async run<T>(
    operation: string,
    path: string,
    work: () => Promise<T>,
    options: PassOptions<T> = {},
  ): Promise<T> {
    const { always = false, closing = false } = options;
    const distrust = always ? undefined : this.#options.refusal?.();
    if (distrust && !closing) {
      this.#tell({ phase: 'refused', operation, path });
      throw distrust;
    }
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    // Taken without an await since the look at the budget: callers of one tick would all see the same number.
    const free = this.#inside.size < this.#options.budget;
    const asked = { operation, path, always };
    const place = free ? this.#take(asked) : await this.#waitForPlace(asked);
    this.#inside.set(place, reject);
    this.#tell({ phase: 'begin', operation, path });
    const deadlineMs = options.deadlineMs ?? this.#options.deadlineMs;
    const timer = setTimeout(() => reject(this.#overdue(place, deadlineMs)), deadlineMs);
    if (distrust) this.#abandon(place, distrust);
    Promise.try(work).then(
      (value) => {
        clearTimeout(timer);
        this.#leave(place, 'ok');
        // Whoever asked was answered without it; an error of giving it back has no reader left.
        if (place.overdue) options.late?.(value).catch(() => undefined);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        this.#leave(place, errnoName(error), meaningOf(error));
        reject(error instanceof Fault ? error : storageFault(operation, path, error));
      },
    );
    return promise;
  }

  /**
   * Call it when `refusal` has changed: whoever waits for a place is refused with it, and, where `isOver`, whoever waits
   * for a call too. The calls keep their places until the kernel lets them go.
   */
  distrust(fault: Fault, isOver: boolean): void {
    for (const caller of this.#waiting) caller.refuse(fault);
    if (!isOver) return;
    for (const place of this.#inside.keys()) if (!place.always && !place.overdue) this.#abandon(place, fault);
  }

  /** The same gate, with the same budget, for what has to pass also while the mount is not trusted. */
  get always(): Passage {
    return {
      run: (operation, path, work, options) => this.run(operation, path, work, { ...options, always: true }),
    };
  }

  #abandon(place: Place, fault: Fault): void {
    place.overdue = true;
    this.#inside.get(place)?.(fault);
  }

  #take(asked: Pick<Place, 'operation' | 'path' | 'always'>): Place {
    const place: Place = { ...asked, beganAt: performance.now(), overdue: false };
    this.#inside.set(place, () => undefined);
    return place;
  }

  async #waitForPlace(asked: Pick<Place, 'operation' | 'path' | 'always'>): Promise<Place> {
    const { operation, path, always } = asked;
    const stuck = [...this.#inside.keys()].every((place) => place.overdue);
    if (stuck || this.#waiting.size >= this.#options.queueLimit) {
      throw this.#refusal(operation, path, 'STORAGE_BUSY');
    }
    const { promise, resolve, reject } = Promise.withResolvers<Place>();
    const caller: Caller = {
      enter: () => {
        clearTimeout(timer);
        this.#waiting.delete(caller);
        resolve(this.#take(asked));
      },
      refuse: (fault) => {
        if (always) return;
        clearTimeout(timer);
        this.#waiting.delete(caller);
        reject(fault);
      },
    };
    const timer = setTimeout(() => {
      this.#waiting.delete(caller);
      reject(this.#refusal(operation, path, 'STORAGE_TIMEOUT'));
    }, this.#options.deadlineMs);
    this.#waiting.add(caller);
    return promise;
  }

  #refusal(operation: string, path: string, code: 'STORAGE_BUSY' | 'STORAGE_TIMEOUT'): Fault {
    const { inside, waiting, oldestSeconds } = this.load;
    this.#tell({ phase: 'refused', operation, path });
    const seen = `${inside} operations are in the kernel, the oldest for ${oldestSeconds.toFixed(1)} s, and ${waiting} wait`;
    return new Fault(code, `cannot ${operation} ${path}: ${seen}`, { detail: { operation, path } });
  }

  #overdue(place: Place, deadlineMs: number): Fault {
    const { operation, path } = place;
    place.overdue = true;
    this.#tell({ phase: 'overdue', operation, path });
    const message = `${operation} ${path} did not return within ${deadlineMs} ms`;
    return new Fault('STORAGE_TIMEOUT', message, { detail: { operation, path, deadlineMs } });
  }

  #leave(place: Place, result: string, meaning?: ErrnoMeaning): void {
    this.#inside.delete(place);
    const seconds = (performance.now() - place.beganAt) / 1000;
    const { operation, path } = place;
    this.#tell({ phase: 'end', operation, path, result, seconds, ...(meaning && { meaning }) });
    for (const caller of this.#waiting) {
      caller.enter();
      break;
    }
  }

  #tell(event: GateEvent): void {
    this.#options.observe?.(event);
  }
}
