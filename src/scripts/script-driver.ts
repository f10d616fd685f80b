import type { Sighting } from '../executors/executor.ts';
import type { StartedClaim } from '../protocol/run-order.ts';
import type { ScriptState } from '../protocol/script-state.ts';
import type { Outcome } from '../protocol/script-status.ts';
import { IsolationTurn } from './isolation-turn.ts';
import { MountNotes } from './mount-notes.ts';
import { preventedOutcome } from './outcome.ts';
import { PodNotes } from './pod-notes.ts';
import { LaunchTrial, type Refusal } from './launch-trial.ts';
import { ScriptLoss } from './script-loss.ts';
import { cookieOf, proveAbsence, type ScriptRoom } from './script-room.ts';
import { endPrevented, endUnreadable, prevent } from './prevention.ts';
import { readClaim } from './started-claim.ts';
import { keepStrays, settledOutcome } from './settle.ts';
import { placeWorkspace } from './script-start.ts';
import { SilentEnd } from './silent-end.ts';
import { stopTimesFor } from './stop-times.ts';
import type { Asked } from './ticket-record.ts';
import { Wakeup } from './wakeup.ts';

/** What a step found: go on at once, wait for news, nothing is left to do, or it failed and is tried again. */
type Step = 'again' | 'wait' | 'over' | 'failed';
type RunnerClaim = StartedClaim & { by: 'runner' };

const POLL_MS = 500;
const FAILED_PAUSE_MS = 500;

/**
 * Brings one script from its publication to its outcome.
 *
 *   published ─ workspace renamed ─ isolation turn ─ launch ─ claim seen ─ running ─ runner gone ─ settled
 *        └── cancel, time-out, no runner: the agent takes the claim itself, so that nothing can start any more ──┘
 *
 * Every step looks at the volume and the executor first and may be repeated: by this agent after a kill, by another
 * one at the same time. Memory holds only what makes it faster.
 */
export class ScriptDriver {
  readonly asked: Asked;
  /** Wakes when the state changes or new output may be there. */
  readonly news = new Wakeup();
  readonly #room: ScriptRoom;
  readonly #turn: IsolationTurn;
  readonly #wakeup = new Wakeup();
  readonly #closed: AbortSignal;
  readonly #over = new AbortController();
  #isNew: boolean;
  #claim: StartedClaim | undefined;
  #state: ScriptState = 'published';
  readonly #trial: LaunchTrial;
  readonly #notes: PodNotes;
  readonly #silentEnd: SilentEnd;
  readonly #mountNotes: MountNotes;
  readonly #lost: ScriptLoss;
  #cancelled = false;
  /** Somebody said that there is news on the volume; output alone, which comes often, is none. */
  #mustAsk = false;
  #placed = false;

  constructor(room: ScriptRoom, asked: Asked, { closed, isNew }: { closed: AbortSignal; isNew: boolean }) {
    this.#room = room;
    this.asked = asked;
    this.#trial = new LaunchTrial(room, asked);
    this.#notes = new PodNotes(room, asked.key, () => this.news.wake());
    this.#silentEnd = new SilentEnd(room, asked);
    this.#closed = closed;
    this.#isNew = isNew;
    this.#turn = new IsolationTurn(room, asked);
    this.#mountNotes = new MountNotes(room, asked.key);
    this.#lost = new ScriptLoss(room, asked);
  }

  /** Who runs the script, once that was seen. */
  get claim(): StartedClaim | undefined {
    return this.#claim;
  }

  get state(): ScriptState {
    return this.#state;
  }

  /** Takes a cancel that no volume can record; it holds once it is kept. @throws {Fault} CLUSTER_ codes. */
  async cancel(): Promise<void> {
    this.#cancelled = true;
    await this.#lost.keepCancel();
    this.wake();
  }

  /** Looks again at once: a cancel was recorded, or a script of the same isolation name is over. */
  wake(): void {
    this.#mustAsk = true;
    this.#wakeup.wake();
  }

  /** Runs until the script is settled or the agent closes; trouble is told and tried again, never thrown. */
  async drive(): Promise<void> {
    const { lines, mount } = this.#room;
    lines.remember(this.asked.key);
    const forget = mount.subscribe(() => this.wake());
    for (let step: Step = 'again'; step !== 'over' && !this.#closed.aborted;) {
      step = await this.#tried();
      if (step === 'wait') await this.#wakeup.sleep(this.#waitMs(), this.#closed);
      // Not to be cut short by news, which the next attempt would make itself.
      if (step === 'failed') await new Wakeup().sleep(FAILED_PAUSE_MS, this.#closed);
    }
    forget();
    lines.drop(this.asked.key);
    // An executor would watch until the script is completed.
    this.#over.abort();
  }

  async #tried(): Promise<Step> {
    try {
      return await this.#step();
    } catch (error) {
      // Also a bug here must not leave the script without anybody who looks after it.
      this.#room.observe({ type: 'trouble', key: this.asked.key, step: this.#state, error });
      return 'failed';
    }
  }

  async #step(): Promise<Step> {
    const { key } = this.asked;
    if (!this.#hasVolume) return this.#withoutVolume();
    this.#trial.forgive(await this.#mountNotes.tell());
    if (this.#isNew) {
      // Its record was made this moment, so there is nothing to look for; the next step looks.
      this.#isNew = false;
      return this.#beforeStart();
    }
    if ((await this.#room.records.outcome(key)) !== undefined) return this.#leave();
    const claim = await readClaim(this.#room.volume, key);
    if (claim === undefined) return this.#claim ? this.#withoutClaim() : this.#beforeStart();
    if (claim === 'unreadable') {
      if (!this.#trial.judge(undefined)) return 'wait';
      return this.#settle(await endUnreadable(this.#room, this.asked));
    }
    if (claim.by === 'agent') return this.#settle(await endPrevented(this.#room, this.asked, claim));
    return this.#whileRunning(claim);
  }

  /** The volume can be asked, and what it says of this script is all that there is. */
  get #hasVolume(): boolean {
    return this.#room.mount.belief().verdict === 'trusted' && !this.#lost.isKept;
  }

  /** What becomes of a script whose volume stalls or is lost; after a loss it comes back from where it is kept. */
  async #withoutVolume(): Promise<Step> {
    const outcome = await this.#lost.outcome(this.#claim, this.#cancelled, this.#closed);
    this.news.wake();
    if (outcome === undefined) return 'wait';
    this.#tellSettled(outcome);
    this.#enter('finished');
    return 'over';
  }

  async #beforeStart(): Promise<Step> {
    const { key } = this.asked;
    this.#placed ||= await placeWorkspace(this.#room, this.asked);
    if (!this.#placed) return this.#withoutClaim();
    if (await this.#isCancelled()) return this.#prevent({ code: 'SCRIPT_CANCELLED' });
    if (!(await this.#turn.hasCome())) {
      this.#enter('waiting');
      return this.#turn.isOver ? this.#prevent({ code: 'ISOLATION_TIMEOUT' }) : 'wait';
    }
    const seen = await this.#room.executor.look(key, undefined);
    if (seen.presence === 'gone') {
      await keepStrays(this.#room, this.asked, undefined);
      const { exitCode, signal } = seen;
      return this.#prevent(seen.trouble ?? { code: 'RUNNER_NOT_STARTED', evidence: { exitCode, signal } });
    }
    const trouble = seen.presence === 'alive' ? seen.trouble : undefined;
    await this.#notes.tell(trouble);
    const refusal = this.#trial.judge(trouble);
    if (refusal) return this.#prevent(refusal);
    // Also what is there is launched once: an agent that died, or was refused, may have left the half of it.
    if (seen.presence === 'none' || !this.#trial.isLaunched)
      return this.#trial.pauseMs > 0 ? 'wait' : this.#launch();
    this.#enter('launched');
    return 'wait';
  }

  /** On an emptied volume every workspace is missing: one that was there is lost only while the epoch is proven. */
  async #withoutClaim(): Promise<Step> {
    await proveAbsence(this.#room);
    return this.#settle(preventedOutcome({ reason: 'WORKSPACE_LOST' }, this.#room.now()));
  }

  async #launch(): Promise<Step> {
    // Watched from before the launch, so that the runner's first output cannot be missed.
    this.#watch(undefined);
    const refusal = await this.#trial.launch();
    await this.#notes.tell(this.#trial.refusal);
    if (refusal) return this.#prevent(refusal);
    if (this.#trial.isLaunched) this.#enter('launched');
    return 'wait';
  }

  async #whileRunning(claim: RunnerClaim): Promise<Step> {
    const { executor } = this.#room;
    const { key } = this.asked;
    this.#claim = claim;
    this.#enter('running');
    this.#watch(claim);
    const { stopMs, lastMs } = stopTimesFor(this.#room, this.asked, claim.at);
    let killAtMs = lastMs;
    let askVolumeAtMs = 0;
    let stopSent = false;
    while (!this.#closed.aborted && this.#hasVolume) {
      const step = await this.#ended(claim, await executor.look(key, claim));
      if (step) return step;
      if (this.#mustAsk || this.#cancelled || this.#nowMs() >= askVolumeAtMs) {
        this.#mustAsk = false;
        askVolumeAtMs = this.#nowMs() + this.#room.limits.reconcileMs;
        if (!stopSent && (await this.#isCancelled())) {
          stopSent = await executor.stop(key, claim);
          killAtMs = Math.min(lastMs, this.#nowMs() + stopMs);
        }
      }
      if (this.#nowMs() >= killAtMs) await executor.clear(key, claim, cookieOf(this.#room, key));
      const leftMs = Math.max(1, killAtMs - this.#nowMs());
      await this.#wakeup.sleep(Math.min(this.#room.limits.reconcileMs, leftMs), this.#closed);
      this.news.wake();
    }
    return 'again';
  }

  /** Settles a script whose runner is gone, or is over although its pod does not say so. */
  async #ended(claim: RunnerClaim, seen: Sighting): Promise<Step | undefined> {
    if (seen.presence === 'none') return undefined;
    const { trouble } = seen;
    if (seen.presence === 'alive') {
      await this.#notes.tell(trouble);
      const isDoubtful = seen.maybeOver === true || trouble?.final === true;
      if (!isDoubtful) return undefined;
    }
    const cancelled = await this.#isCancelled();
    if (seen.presence === 'alive' && !trouble?.final) {
      if (!(await this.#silentEnd.isBelieved(claim, { cancelled, trouble }))) return undefined;
    }
    if (seen.presence === 'gone' && !trouble && (await this.#silentEnd.isUnexplained(claim, cancelled)))
      return undefined;
    return this.#settle(await settledOutcome(this.#room, this.asked, { claim, cancelled, trouble }));
  }

  async #prevent(refusal: Refusal): Promise<Step> {
    await prevent(this.#room, this.asked, refusal);
    return 'again';
  }

  async #settle(outcome: Outcome): Promise<Step> {
    if (await this.#room.records.recordOutcome(this.asked.key, outcome)) this.#tellSettled(outcome);
    return this.#leave();
  }

  #tellSettled({ code, says }: Outcome): void {
    const { key, server, ticket } = this.asked;
    this.#room.observe({ type: 'settled', key, server, ticket, code, says });
  }

  async #leave(): Promise<Step> {
    await this.#turn.leave();
    this.#enter('finished');
    return 'over';
  }

  #watch(claim: StartedClaim | undefined): void {
    this.#room.executor.watch(this.asked.key, claim, {
      changed: () => this.#wakeup.wake(),
      says: (line) => void this.#notes.add(line),
      signal: this.#over.signal,
    });
  }

  #enter(state: ScriptState): void {
    if (this.#state === state) return;
    this.#state = state;
    const { key, server, ticket } = this.asked;
    this.#room.observe({ type: 'state', key, server, ticket, state });
    this.news.wake();
  }

  async #isCancelled(): Promise<boolean> {
    this.#cancelled ||= await this.#room.records.isCancelled(this.asked.key);
    return this.#cancelled;
  }

  #waitMs(): number {
    const { reconcileMs } = this.#room.limits;
    const { refusal, pauseMs } = this.#trial;
    const isPolled = this.#state === 'waiting' || this.#state === 'launched' || refusal !== undefined;
    return isPolled ? Math.min(POLL_MS, reconcileMs, pauseMs || Infinity) : reconcileMs;
  }

  #nowMs(): number {
    return this.#room.now().getTime();
  }
}
