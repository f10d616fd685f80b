import type { Belief } from '../protocol/mount-belief.ts';
import type { StartedClaim } from '../protocol/run-order.ts';
import type { Outcome } from '../protocol/script-status.ts';
import { FIRST_STORED } from './agent-lines.ts';
import type { KeptScript } from './kept-scripts.ts';
import { lossOutcome } from './loss-outcome.ts';
import { outcomeFrom } from './outcome.ts';
import type { ScriptRoom } from './script-room.ts';
import { findLiveEnd, lostOutcome } from './settle.ts';
import type { Asked } from './ticket-record.ts';

type RunnerClaim = StartedClaim & { by: 'runner' };

/**
 * One script while its volume is not trusted.
 *
 *   stalled ─▶ nothing is decided: what runs goes on, what waits waits
 *   lost ─┬─ a copied script that has begun: goes on; how it ends is kept beside the volume
 *         └─ any other: is ended, and settled with the code of the loss
 */
export class ScriptLoss {
  readonly #room: ScriptRoom;
  readonly #asked: Asked;
  #stopSent = false;

  constructor(room: ScriptRoom, asked: Asked) {
    this.#room = room;
    this.#asked = asked;
  }

  /** The script is kept beside the volume and has not come back to it yet. */
  get isKept(): boolean {
    return this.#room.kept.get(this.#asked.key) !== undefined;
  }

  /** Returns how the script ended once that is kept; undefined while it goes on. May be repeated. @throws {Fault} CLUSTER_ codes. */
  async outcome(
    claim: StartedClaim | undefined,
    cancelled: boolean,
    closed: AbortSignal,
  ): Promise<Outcome | undefined> {
    const kept = this.#room.kept.get(this.#asked.key);
    if (kept?.outcome) return kept.outcome;
    const loss = this.#room.mount.belief();
    if (loss.verdict !== 'lost') return undefined;
    const runner = kept?.claim ?? claim;
    const isCancelled = cancelled || kept?.cancelled === true;
    if (this.#asked.storage === 'copied' && runner?.by === 'runner') {
      if (kept === undefined) await this.#keep({ claim: runner, cancelled: isCancelled }, loss);
      const ended = await this.#outlived(runner, isCancelled);
      if (ended) await this.#keep({ outcome: ended }, loss);
      return ended;
    }
    const outcome = await lossOutcome(this.#room, this.#asked, {
      ...{ claim: runner, cancelled: isCancelled, closed, loss },
    });
    if (closed.aborted) return undefined;
    await this.#keep({ claim: runner ?? null, cancelled: isCancelled, outcome }, loss);
    return outcome;
  }

  /** @throws {Fault} CLUSTER_ codes. */
  async keepCancel(): Promise<void> {
    await this.#keep({ cancelled: true }, this.#room.mount.belief());
  }

  async #keep(
    news: Partial<Pick<KeptScript, 'claim' | 'outcome' | 'cancelled'>>,
    loss: Belief,
  ): Promise<void> {
    const { kept, lines, now } = this.#room;
    const { key } = this.#asked;
    const lost = {
      at: now().toISOString(),
      stream: 'agent',
      text: loss.says,
      mark: 'lost',
    } as const;
    const first: KeptScript = {
      ...{ version: 1, asked: this.#asked, claim: null, outcome: null, tombstone: null, cancelled: false },
      ...{ lines: [...lines.remembered(key), lost], firstLine: FIRST_STORED },
    };
    await kept.put({ ...(kept.get(key) ?? first), ...news });
  }

  /** A script that needs its volume no more: ends as its runner says. */
  async #outlived(claim: RunnerClaim, cancelled: boolean): Promise<Outcome | undefined> {
    const { executor } = this.#room;
    const { key } = this.#asked;
    if (cancelled && !this.#stopSent) this.#stopSent = await executor.stop(key, claim);
    const seen = await executor.look(key, claim);
    if (seen.presence === 'alive' && seen.maybeOver !== true) return undefined;
    const end = await findLiveEnd(this.#room, this.#asked, claim);
    const trouble = seen.presence === 'none' ? undefined : seen.trouble;
    const inPod = executor.kind === 'kubernetes';
    if (end) return outcomeFrom(end.record, { cancelled, trouble, inPod });
    return seen.presence === 'gone'
      ? lostOutcome(this.#room, this.#asked, { claim, cancelled, trouble })
      : undefined;
  }
}
