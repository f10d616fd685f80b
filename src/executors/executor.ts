import type { RunOrder, StartedClaim } from '../protocol/run-order.ts';
import type { ScriptKey } from '../protocol/ticket.ts';

/**
 * Where script pods run. One suite, test/contracts/executor.suite.ts, holds every implementation to this page.
 *
 * At most once (invariant 3) does not rest on an executor: a runner that cannot take `out/started` for itself ends
 * without a word. So every call here may be repeated, from several agents, and after a kill between any two of them.
 */
export interface Executor {
  readonly kind: 'local' | 'kubernetes';

  /**
   * Sees to it that a runner with this order is on its way; returns when it was handed over, not when it started.
   *
   * @throws {Fault} RUNNER_NOT_STARTED when no runner can be made, with the cause.
   */
  launch(order: RunOrder): Promise<void>;

  /** Tells what became of the runner of `key`; `claim` is what `out/started` says, when there is one. */
  look(key: ScriptKey, claim: StartedClaim | undefined): Promise<Sighting>;

  /** Asks the runner to end its script (TERM, grace, KILL) and itself. False when there is none to ask. */
  stop(key: ScriptKey, claim: StartedClaim | undefined): Promise<boolean>;

  /**
   * Ends by force the runner and every process that carries `cookie`, and returns when none is left.
   *
   * @throws {Fault} RUNNER_FAILED when processes are left at the deadline, which then stand in a hung system call.
   */
  clear(key: ScriptKey, claim: StartedClaim | undefined, cookie: string): Promise<void>;

  /** Opens what the runner wrote to its stdout, the witness that does not need the volume; undefined when it is gone. */
  witness(key: ScriptKey, claim: StartedClaim | undefined): Promise<Witness | undefined>;

  /**
   * Calls `changed` when there may be new output of `key` or its runner may be gone; until `signal` aborts.
   *
   * May begin before the launch. A later watch of a key takes the place of this one; the end of a runner ends it too.
   */
  watch(
    key: ScriptKey,
    claim: StartedClaim | undefined,
    watch: { changed: () => void; signal: AbortSignal },
  ): void;

  /** Forgets a script that is over: its first witness and whatever else is kept outside the volume. */
  remove(key: ScriptKey, claim: StartedClaim | undefined): Promise<void>;

  /** Stops watching and lets runners run: they belong to the next agent. */
  close(): Promise<void>;
}

/** `none`: never seen, already removed, or where this agent cannot look. `gone` says how the runner's own process ended, where that is known. */
export type Sighting =
  | { readonly presence: 'none' }
  | { readonly presence: 'alive' }
  | { readonly presence: 'gone'; readonly exitCode: number | null; readonly signal: string | null };

/** A file-like source of journal frames, which only grows. */
export interface Witness {
  /** Bytes that are there now. */
  size(): Promise<number>;
  /** At most `length` bytes from `position`; fewer at the end. */
  readAt(position: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}
