import { join } from 'node:path';
import type { ScriptKey } from '../../protocol/ticket.ts';
import type { Witness } from '../executor.ts';
import type { ApiCaller, ApiEvent } from './api-call.ts';
import { LogFollow, type LogEnd } from './log-follow.ts';
import { LogSpool } from './log-spool.ts';
import { podNameFor, SCRIPT_CONTAINER } from './pod-names.ts';

export interface PodOutputOptions {
  readonly connection: ApiCaller;
  readonly key: ScriptKey;
  /** A folder of the local disk for the logs of all pods. */
  readonly folder: string;
  readonly spoolBytes: number;
  /** The container has ended. */
  readonly isOver: () => boolean;
  /** Nobody would say whether it has. */
  readonly isDoubtful: () => boolean;
  /** There is new output, or the log has ended. */
  readonly changed: () => void;
  readonly observe: (event: ApiEvent) => void;
}

/** How long a log may be broken off before the volume is believed to know more. */
const AWAY_MS = 2000;

/**
 * The output of one pod: its log as far as it was read, on local disk.
 *
 * Made anew by every agent: the log is in the cluster, and what was rotated away is on the volume.
 */
export class PodOutput {
  readonly #spool: LogSpool;
  readonly #follow: LogFollow;
  #end: LogEnd | undefined;
  /** Since when the local disk takes nothing. */
  #notTakenSinceMs: number | undefined;
  #hasEnded = false;

  private constructor(options: PodOutputOptions, spool: LogSpool) {
    this.#spool = spool;
    this.#follow = new LogFollow({
      connection: options.connection,
      pod: podNameFor(options.key),
      container: SCRIPT_CONTAINER,
      take: async (lines) => {
        await this.#append(lines);
        options.changed();
      },
      isOver: options.isOver,
      isDoubtful: options.isDoubtful,
      observe: (event) => {
        if (event.type === 'log-restart') this.#restarts(event.reason, options.changed);
        options.observe(event);
      },
    });
    void this.#follow.done.then(async (end) => {
      // What was appended can be read all the same.
      await spool.seal().catch(() => undefined);
      this.#end = end;
      options.changed();
    });
  }

  static async open(options: PodOutputOptions): Promise<PodOutput> {
    const segmentBytes = Math.ceil(options.spoolBytes / 2);
    const spool = await LogSpool.open(join(options.folder, options.key), { segmentBytes });
    return new PodOutput(options, spool);
  }

  /** Nothing more will come. */
  get isComplete(): boolean {
    return this.#end !== undefined;
  }

  /** The log ended in good order, which it does when the container has ended, whatever the watch says. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Waits until nothing more will come. */
  async whenComplete(): Promise<void> {
    await this.#follow.done;
  }

  /** The log cannot be read for now: the volume knows more. */
  get isAway(): boolean {
    const notTakenMs = performance.now() - (this.#notTakenSinceMs ?? Infinity);
    return !this.isComplete && Math.max(this.#follow.awayMs, notTakenMs) > AWAY_MS;
  }

  /** Opens what there is; undefined while the log cannot be read, so that the volume has to do. */
  openWitness(): Witness | undefined {
    return this.isAway ? undefined : this.#spool.openWitness();
  }

  /** Something about the pod is new. */
  wake(): void {
    this.#follow.wake();
  }

  /** Ends the follow and removes the files: another agent reads the log anew. */
  async close(): Promise<void> {
    await this.#follow.close();
    await this.#spool.remove();
  }

  #restarts(reason: string, changed: () => void): void {
    if (reason === 'ended') this.#hasEnded = true;
    changed();
  }

  async #append(lines: Buffer): Promise<void> {
    try {
      await this.#spool.append(lines);
    } catch (error) {
      this.#notTakenSinceMs ??= performance.now();
      throw error;
    }
    this.#notTakenSinceMs = undefined;
    // Whoever writes has not ended: a server ends its answers also when it goes down in good order.
    this.#hasEnded = false;
  }
}
