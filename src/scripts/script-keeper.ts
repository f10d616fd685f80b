import { Fault } from '../protocol/fault.ts';
import type { Verdict } from '../protocol/mount-belief.ts';
import type { Outcome } from '../protocol/script-status.ts';
import { agentKeyName } from '../protocol/seal.ts';
import type { ScriptKey } from '../protocol/ticket.ts';
import { Ballast } from '../staging/ballast.ts';
import { restoreKept } from './kept-restore.ts';
import type { ScriptBook } from './script-book.ts';
import { removeRunLeftovers } from './run-leftovers.ts';
import type { ScriptRoom } from './script-room.ts';
import { Wakeup } from './wakeup.ts';

export interface KeeperRules {
  readonly reconcileMs: number;
  readonly finishedRetentionMs: number;
  readonly tombstoneRetentionMs: number;
  /** How long the executor keeps what it has of a script that is over; its record and journal stay. */
  readonly keepEndedMs: number;
}

/**
 * Finds what nobody looks after: scripts of an agent that died, or that another agent published.
 *
 * The truth is what lies on the volume, so start and every later look are the same: list the records, follow those
 * without an outcome. Several agents may follow one script; each step of it can be repeated.
 */
export class ScriptKeeper {
  readonly #room: ScriptRoom;
  readonly #book: ScriptBook;
  readonly #rules: KeeperRules;
  /** Records that are over; bounded by the records on the volume, which retention bounds. */
  readonly #over = new Set<ScriptKey>();
  readonly #closed = new AbortController();
  readonly #ballast: Ballast;
  #keeping: Promise<void> = Promise.resolve();
  #lastVerdict: Verdict = 'trusted';

  constructor(room: ScriptRoom, book: ScriptBook, rules: KeeperRules) {
    this.#room = room;
    this.#book = book;
    this.#rules = rules;
    this.#ballast = new Ballast(room.volume);
  }

  /** Looks once through all records, then again every reconcileMs; returns after the first look. */
  async start(): Promise<void> {
    await this.#ballast.keep();
    await this.#loadKept();
    await this.#restore();
    await this.look();
    await this.#removeLeftovers();
    this.#keeping = this.#keep();
  }

  /** Follows every script that is not over and is not followed yet; returns how many were taken up. */
  async look(): Promise<number> {
    const keys = await this.#room.records.keys();
    const unknown = keys.filter((key) => !this.#over.has(key) && !this.#book.isFollowed(key));
    let taken = 0;
    for (const key of unknown) taken += (await this.#tried(key, () => this.#takeUp(key))) === true ? 1 : 0;
    const present = new Set(keys);
    for (const key of this.#over) if (!present.has(key)) this.#over.delete(key);
    return taken;
  }

  /** Completes scripts that nobody collected for long and forgets old tombstones; returns how many of each. */
  async sweep(): Promise<{ completed: number; forgotten: number; runs: number }> {
    const swept = { completed: 0, forgotten: 0, runs: await this.#removeLeftovers() };
    for (const key of await this.#room.records.keys()) {
      const done = await this.#tried(key, () => this.#sweepOne(key));
      if (done) swept[done] += 1;
    }
    return swept;
  }

  /** Staged folders that records name whose scripts are not over: workspaces that may not have their name yet. */
  async neededStagings(): Promise<ReadonlySet<string>> {
    const { records } = this.#room;
    const needed = new Set<string>();
    for (const key of await records.keys()) {
      if (this.#over.has(key)) continue;
      const asked = await records.asked(key);
      if (asked) needed.add(asked.staging);
    }
    return needed;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#keeping;
  }

  async #keep(): Promise<void> {
    const pause = new Wakeup();
    while (!this.#closed.signal.aborted) {
      await pause.sleep(this.#rules.reconcileMs, this.#closed.signal);
      const { verdict } = this.#room.mount.belief();
      if (verdict === 'lost' && this.#lastVerdict !== 'lost') await this.#loadKept();
      this.#lastVerdict = verdict;
      // What lies on a volume that is not trusted says nothing.
      if (verdict !== 'trusted') continue;
      try {
        await this.#restore();
        await this.look();
        await this.#ballast.keep();
      } catch (error) {
        this.#room.observe({ type: 'trouble', key: undefined, step: 'reconcile', error });
      }
    }
  }

  /** What other agents have kept of scripts counts here too. */
  async #loadKept(): Promise<void> {
    try {
      const foreign = await this.#room.kept.load();
      if (foreign > 0) throw new Fault('KEY_FOREIGN', `${foreign} kept scripts are of another key`);
    } catch (error) {
      this.#room.observe({ type: 'trouble', key: undefined, step: 'load kept', error });
    }
  }

  /** Follows kept scripts that still run, and brings back to the volume what was kept while it was away. */
  async #restore(): Promise<void> {
    for (const kept of this.#room.kept.all) {
      const { key } = kept.asked;
      await this.#tried(key, () => restoreKept(this.#room, kept));
      this.#over.delete(key);
    }
  }

  /** One record that is broken must not hide the others. */
  async #tried<T>(key: ScriptKey, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      this.#room.observe({ type: 'trouble', key, step: 'keep', error });
      return undefined;
    }
  }

  async #takeUp(key: ScriptKey): Promise<boolean> {
    const { records } = this.#room;
    const asked = await records.asked(key);
    if (asked === undefined) return false;
    if (asked.agentKeyName !== agentKeyName(this.#room.agentKey)) return false;
    const outcome = await records.outcome(key);
    if (outcome) {
      this.#over.add(key);
      await this.#finishBurial(key, outcome);
      return false;
    }
    this.#book.follow(asked);
    return this.#book.isFollowed(key);
  }

  async #removeLeftovers(): Promise<number> {
    try {
      return await removeRunLeftovers(this.#room, this.#rules.keepEndedMs);
    } catch (error) {
      this.#room.observe({ type: 'trouble', key: undefined, step: 'leftovers', error });
      return 0;
    }
  }

  /** A kill between tombstone and removal leaves a workspace that nobody can ask for any more. */
  async #finishBurial(key: ScriptKey, outcome: Outcome): Promise<void> {
    const { records, volume } = this.#room;
    if (!(await records.tombstone(key))) return;
    if ((await volume.list(volume.layout.workspace(key).root)) === undefined) return;
    const asked = await records.asked(key);
    if (asked) await this.#book.bury(asked, outcome);
  }

  async #sweepOne(key: ScriptKey): Promise<'completed' | 'forgotten' | undefined> {
    const { records, now, agentKey } = this.#room;
    const asked = await records.asked(key);
    // Agents with another key look after their own.
    if (asked === undefined || asked.agentKeyName !== agentKeyName(agentKey)) return undefined;
    const ageOf = (at: string): number => now().getTime() - Date.parse(at);
    const tombstone = await records.tombstone(key);
    if (tombstone) {
      if (ageOf(tombstone.completedAt) < this.#rules.tombstoneRetentionMs) return undefined;
      await records.forget(key);
      return 'forgotten';
    }
    const outcome = await records.outcome(key);
    if (outcome === undefined || ageOf(outcome.endedAt) < this.#rules.finishedRetentionMs) return undefined;
    await this.#book.bury(asked, outcome);
    return 'completed';
  }
}
