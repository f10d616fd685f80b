import type { FailureCode } from '../protocol/failure-table.ts';
import type { PodWishes } from '../protocol/pod-wishes.ts';
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

  /** What must outlive the volume is kept here. */
  readonly keep: ScriptKeep;

  /**
   * Sees to it that a runner with this order is on its way; returns when it was handed over, not when it started.
   *
   * `wishes` are what the script wishes of its pod, allowed already; `labels` are what its server says of it, to be seen
   * on the pod.
   *
   * @throws {Fault} RUNNER_NOT_STARTED when no runner can be made, with the cause; in a cluster the CLUSTER_ code of the
   * refusal, with its words in `detail.evidence`. Where the code's retry is `later`, it is worth trying again.
   */
  launch(order: RunOrder, wishes?: PodWishes, labels?: Readonly<Record<string, string>>): Promise<void>;

  /** Tells what became of the runner of `key`; `claim` is what `out/started` says, when there is one. */
  look(key: ScriptKey, claim: StartedClaim | undefined): Promise<Sighting>;

  /**
   * Asks the runner to end its script (TERM, grace, KILL) and itself. False when there is none to ask.
   *
   * Without a claim of a runner, whatever was launched is taken away: it can run nothing any more.
   */
  stop(key: ScriptKey, claim: StartedClaim | undefined): Promise<boolean>;

  /**
   * Ends by force the runner and every process that carries `cookie`, and returns when none is left.
   *
   * @throws {Fault} RUNNER_FAILED when processes are left at the deadline, which then stand in a hung system call.
   */
  clear(key: ScriptKey, claim: StartedClaim | undefined, cookie: string): Promise<void>;

  /**
   * Gives up on a runner that `clear` could not end: takes away what can be taken from around it. Its processes stay
   * where they stand until the call that holds them returns.
   *
   * @throws {Fault} CLUSTER_UNREACHABLE
   */
  abandon(key: ScriptKey): Promise<void>;

  /** Opens what the runner wrote to its stdout, the witness that does not need the volume; undefined when it is gone. */
  witness(key: ScriptKey, claim: StartedClaim | undefined): Promise<Witness | undefined>;

  /**
   * Calls `changed` when there may be new output of `key` or its runner may be gone, and `says` for what is told about
   * its pod (a line may come again, under the same mark); until `signal` aborts.
   *
   * May begin before the launch. A later watch of a key takes the place of this one; the end of a runner ends it too.
   */
  watch(
    key: ScriptKey,
    claim: StartedClaim | undefined,
    watch: {
      readonly changed: () => void;
      readonly says?: (line: PodLine) => void;
      readonly signal: AbortSignal;
    },
  ): void;

  /** Forgets a script that is over: its first witness and whatever else is kept outside the volume. */
  remove(key: ScriptKey, claim: StartedClaim | undefined): Promise<void>;

  /** Scripts of this volume of which it surely has something, of this agent and of those before it, in no order. */
  keys(): Promise<readonly ScriptKey[]>;

  /** Gets ready for the next launch, so that it is quick; called once, when the agent has found its scripts. */
  prepare(): Promise<void>;

  /** Stops watching and lets runners run: they belong to the next agent. */
  close(): Promise<void>;
}

/**
 * `none`: never seen, already removed, or where this agent cannot look. `gone` says how the runner's own process ended,
 * where that is known.
 */
export type Sighting =
  | { readonly presence: 'none' }
  | {
      readonly presence: 'alive';
      /** What keeps it from running, or makes doubtful that it does. */
      readonly trouble?: Trouble | undefined;
      /** It may be over although nobody says so: its output ended, or whoever would say so is away. */
      readonly maybeOver?: boolean;
    }
  | {
      readonly presence: 'gone';
      readonly exitCode: number | null;
      readonly signal: string | null;
      /** Why it ended, where that was not its own doing. */
      readonly trouble?: Trouble | undefined;
    };

/** Something that happened to the pod around a script, for its journal. */
export interface PodLine {
  readonly text: string;
  /** Two lines with one mark are the same line. */
  readonly mark: string;
}

/** What stands in the way of a runner, or ended it, in the words of whoever is around it. */
export interface Trouble {
  readonly code: FailureCode;
  /** One sentence for a person. */
  readonly says: string;
  /** As it came, bounded in size (invariant 14). */
  readonly evidence: Readonly<Record<string, unknown>>;
  /** Waiting does not heal it. */
  readonly final: boolean;
  /** Since when, in ms since 1970. */
  readonly sinceMs: number;
}

/** A file-like source of journal frames, which only grows at its end. */
export interface Witness {
  /** The first position that is still there: what is before it was dropped. */
  start(): Promise<number>;
  /** Bytes that are there now. */
  size(): Promise<number>;
  /** At most `length` bytes from `position`; fewer at the end. */
  readAt(position: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

/**
 * A place beside the volume for the little that must outlive it and the agent together: local disk on one machine, the
 * API of the cluster in one. Agents of one volume in a cluster share it.
 */
export interface ScriptKeep {
  /** Keeps `text`, at most KEPT_MAX_BYTES as UTF-8, in place of what was kept of `key`; durable on return. @throws {Fault} CLUSTER_ codes. */
  put(key: ScriptKey, text: string): Promise<void>;
  /** Returns everything that is kept. @throws {Fault} CLUSTER_ codes. */
  all(): Promise<ReadonlyMap<ScriptKey, string>>;
  /** Forgets what was kept of `key`; nothing happens where that is nothing. @throws {Fault} CLUSTER_ codes. */
  forget(key: ScriptKey): Promise<void>;
}

/** Less than an object of the API may have, which is about 1 MiB with all around it. */
export const KEPT_MAX_BYTES = 512 * 1024;
