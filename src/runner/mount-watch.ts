import { setTimeout as delay } from 'node:timers/promises';
import type { MountReport } from '../protocol/end-record.ts';
import { Fault } from '../protocol/fault.ts';
import type { Belief, MountLimits } from '../protocol/mount-belief.ts';
import type { MountCase } from '../protocol/mount-case.ts';
import type { ProbeSeen } from '../protocol/mount-evidence.ts';
import { openCase, weigh } from '../protocol/mount-verdict.ts';
import { monotonicMs } from './clock.ts';

/** Whoever looks at the volume; see MountProbe. */
export interface Looks {
  look(): Promise<ProbeSeen>;
}

/** Between two looks for somebody who waits for the volume. */
const PAUSE_MS = 1000;

/**
 * What a runner believes of its mount, from what it sees itself.
 *
 * The rules are those of the agent. A runner sees less: not the server, so that stale handles count only at the limit.
 */
export class MountWatch {
  /** Settles at the first loss. */
  readonly lost: Promise<Belief>;
  readonly #lose: (belief: Belief) => void;
  readonly #looks: Looks;
  readonly #limits: MountLimits;
  #case: MountCase;
  #looking: Promise<Belief> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lookedAtMs = -PAUSE_MS;
  #isOver = false;
  #told: (belief: Belief) => void = () => undefined;
  #stalls = 0;
  #stalledMs = 0;
  #doubtedAtMs = 0;

  /** Trusts the volume at first, as whoever staged on it did; begins to look after `probeIntervalMs`. */
  constructor(looks: Looks, { limits, epoch }: { limits: MountLimits; epoch: string }) {
    const { promise, resolve } = Promise.withResolvers<Belief>();
    this.lost = promise;
    this.#lose = resolve;
    this.#looks = looks;
    this.#limits = limits;
    this.#case = openCase({ atMs: monotonicMs(), epoch: epoch.trim() });
    this.#schedule(limits.probeIntervalMs);
  }

  get belief(): Belief {
    return this.#case.belief;
  }

  /** The longest wait for the volume that makes sense. */
  get stallLimitMs(): number {
    return this.#limits.stallLimitMs;
  }

  /** What of it belongs into an end record; undefined for a mount that was trusted all the time. */
  get report(): MountReport | undefined {
    const { verdict, says } = this.belief;
    if (this.#stalls === 0) return undefined;
    const openMs = verdict === 'trusted' ? 0 : Math.max(0, monotonicMs() - this.#doubtedAtMs);
    return { verdict, says, stalls: this.#stalls, stalledMs: Math.round(this.#stalledMs + openMs) };
  }

  /** Calls `told` at each new verdict. */
  onVerdict(told: (belief: Belief) => void): void {
    this.#told = told;
  }

  /** Something else than a look met a fault of the volume: looks at once, but not again and again. */
  hint(): void {
    if (monotonicMs() - this.#lookedAtMs >= PAUSE_MS) void this.#look();
  }

  /**
   * Looks until the volume is trusted or lost, and returns that belief; or what is believed once `signal` has aborted.
   *
   * Looks once from now on in any case, since a belief from before proves nothing of now. Takes no longer than the limit
   * of a stall, and after an abort no longer than two looks.
   */
  async settled(signal: AbortSignal): Promise<Belief> {
    const given = aborted(signal);
    // A look that has begun may have its answer from before.
    await this.#looking;
    let belief = await this.#look();
    while (belief.verdict === 'stalled' && !signal.aborted) {
      await Promise.race([delay(PAUSE_MS), given]);
      belief = (await Promise.race([this.#look(), given])) ?? this.belief;
    }
    return belief;
  }

  /** Looks by itself no more. */
  stop(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #schedule(afterMs: number): void {
    clearTimeout(this.#timer);
    // Not what keeps this process up: when there is nothing else to wait for, that is an error to tell.
    if (!this.#isOver) this.#timer = setTimeout(() => void this.#look(), Math.max(0, afterMs)).unref();
  }

  #look(): Promise<Belief> {
    this.#looking ??= this.#lookOnce().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #lookOnce(): Promise<Belief> {
    this.#lookedAtMs = monotonicMs();
    this.#step(weigh(this.#case, await this.#looks.look(), this.#limits));
    // From start to start, as the limits have it; one that hangs may take longer than that.
    this.#schedule(this.#lookedAtMs + this.#limits.probeIntervalMs - monotonicMs());
    return this.belief;
  }

  #step(next: MountCase): void {
    const before = this.#case.belief;
    this.#case = next;
    const { verdict, sinceMs } = next.belief;
    if (verdict === before.verdict) return;
    if (before.verdict === 'trusted') {
      this.#stalls += 1;
      this.#doubtedAtMs = sinceMs;
    }
    if (verdict === 'trusted') this.#stalledMs += sinceMs - this.#doubtedAtMs;
    if (verdict === 'lost') this.#lose(next.belief);
    this.#told(next.belief);
  }
}

/** The fault of whatever depends on a volume that is believed to be lost or does not answer. */
export function faultOfMount({ verdict, code, says, rule }: Belief): Fault {
  const what = verdict === 'lost' ? 'the volume is lost' : 'nobody knows what the volume holds';
  return new Fault(code ?? 'STORAGE_TIMEOUT', `${what}: ${says}`, { detail: { verdict, rule } });
}

async function aborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}
