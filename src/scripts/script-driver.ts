import type { Sighting } from '../executors/executor.ts';
import { Fault } from '../protocol/fault.ts';
import type { StartedClaim } from '../protocol/run-order.ts';
import type { ScriptState } from '../protocol/script-state.ts';
import type { Outcome } from '../protocol/script-status.ts';
import type { ScriptKey } from '../protocol/ticket.ts';
import { publishWorkspace } from '../staging/workspace.ts';
import { IsolationLine } from './isolation-line.ts';
import { outcomeOf, preventedOutcome } from './outcome.ts';
import { PodNotes } from './pod-notes.ts';
import { LaunchTrial, type Refusal } from './launch-trial.ts';
import { cookieOf, type ScriptRoom } from './script-room.ts';
import { claimForAgent, readClaim } from './started-claim.ts';
import { keepStrays, settledOutcome } from './settle.ts';
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
  readonly #line: IsolationLine | undefined;
  readonly #wakeup = new Wakeup();
  readonly #closed: AbortSignal;
  readonly #over = new AbortController();
  #isNew: boolean;
  #claim: StartedClaim | undefined;
  #state: ScriptState = 'published';
  readonly #trial: LaunchTrial;
  readonly #notes: PodNotes;
  readonly #silentEnd: SilentEnd;
  #cancelled = false;
  /** Somebody said that there is news on the volume; output alone, which comes often, is none. */
  #mustAsk = false;
  #published = false;

  constructor(room: ScriptRoom, asked: Asked, { closed, isNew }: { closed: AbortSignal; isNew: boolean }) {
    this.#room = room;
    this.asked = asked;
    this.#trial = new LaunchTrial(room, asked);
    this.#notes = new PodNotes(room, asked.key, () => this.news.wake());
    this.#silentEnd = new SilentEnd(room, asked);
    this.#closed = closed;
    this.#isNew = isNew;
    const isOver = (key: ScriptKey): Promise<boolean> => room.records.isOver(key);
    this.#line = asked.isolation ? new IsolationLine(room.volume, asked.isolation.name, isOver) : undefined;
  }

  /** Who runs the script, once that was seen. */
  get claim(): StartedClaim | undefined {
    return this.#claim;
  }

  get state(): ScriptState {
    return this.#state;
  }

  /** Looks again at once: a cancel was recorded, or a script of the same isolation name is over. */
  wake(): void {
    this.#mustAsk = true;
    this.#wakeup.wake();
  }

  /** Runs until the script is settled or the agent closes; trouble is told and tried again, never thrown. */
  async drive(): Promise<void> {
    for (let step: Step = 'again'; step !== 'over' && !this.#closed.aborted;) {
      step = await this.#tried();
      if (step === 'wait') await this.#wakeup.sleep(this.#waitMs(), this.#closed);
      // Not to be cut short by news, which the next attempt would make itself.
      if (step === 'failed') await new Wakeup().sleep(FAILED_PAUSE_MS, this.#closed);
    }
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
    if (this.#isNew) {
      // Its record was made this moment, so there is nothing to look for; the next step looks.
      this.#isNew = false;
      return this.#beforeStart();
    }
    if ((await this.#room.records.outcome(key)) !== undefined) return this.#leave();
    const claim = await readClaim(this.#room.volume, key);
    if (claim === undefined) return this.#beforeStart();
    if (claim === 'unreadable') return this.#unreadable();
    return claim.by === 'agent' ? this.#settlePrevented(claim) : this.#whileRunning(claim);
  }

  async #beforeStart(): Promise<Step> {
    const { key } = this.asked;
    if (!(await this.#hasWorkspace()))
      return this.#settle(preventedOutcome({ reason: 'WORKSPACE_LOST' }, this.#room.now()));
    if (await this.#isCancelled()) return this.#prevent({ code: 'SCRIPT_CANCELLED' });
    if (!(await this.#hasTurn()))
      return this.#isolationOver() ? this.#prevent({ code: 'ISOLATION_TIMEOUT' }) : 'wait';
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

  /** Gives the staged folder its name, which an agent that was killed may not have come to. */
  async #hasWorkspace(): Promise<boolean> {
    try {
      if (!this.#published) await publishWorkspace(this.#room.volume, this.asked.staging, this.asked.key);
      this.#published = true;
      return true;
    } catch (error) {
      if (error instanceof Fault && error.code === 'WORKSPACE_LOST') return false;
      throw error;
    }
  }

  async #hasTurn(): Promise<boolean> {
    const { key, isolation } = this.asked;
    if (this.#line === undefined || isolation === null) return true;
    const turn = await this.#line.turn(key, isolation.level);
    if (turn.runs) return true;
    this.#enter('waiting');
    const other = await this.#room.records.asked(turn.waitsFor);
    const who = other ? `${other.ticket} of ${other.server}` : turn.waitsFor;
    const text = `waiting for the isolation line "${isolation.name}": ${who} is in front`;
    await this.#room.lines.add(key, { stream: 'agent', text, mark: `line-${turn.waitsFor}` });
    return false;
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
    while (!this.#closed.aborted) {
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
    return 'over';
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

  async #unreadable(): Promise<Step> {
    if (!this.#trial.judge(undefined)) return 'wait';
    await this.#room.executor.clear(this.asked.key, undefined, cookieOf(this.#room, this.asked.key));
    const evidence = { claim: 'out/started is there and is not whole: its writer was killed in the middle' };
    return this.#settle(outcomeOf('RUNNER_LOST', { endedAt: this.#room.now().toISOString(), evidence }));
  }

  /** Takes the claim, so that no runner can run the script; where one has it already, the next step sees it. */
  async #prevent({ code, says, evidence }: Refusal): Promise<Step> {
    const { volume, now } = this.#room;
    const known = { ...(says !== undefined && { says }), ...(evidence && { evidence }) };
    await claimForAgent(volume, this.asked.key, { reason: code, at: now().toISOString(), ...known });
    return 'again';
  }

  async #settle(outcome: Outcome): Promise<Step> {
    const { key, server, ticket } = this.asked;
    const first = await this.#room.records.recordOutcome(key, outcome);
    if (first)
      this.#room.observe({ type: 'settled', key, server, ticket, code: outcome.code, says: outcome.says });
    return this.#leave();
  }

  async #leave(): Promise<Step> {
    await this.#line?.leave(this.asked.key);
    this.#enter('finished');
    return 'over';
  }

  async #settlePrevented(claim: StartedClaim & { by: 'agent' }): Promise<Step> {
    const { executor } = this.#room;
    await executor.stop(this.asked.key, undefined).catch((error: unknown) => {
      // What was launched can run nothing any more; it goes when the script is completed.
      this.#room.observe({ type: 'trouble', key: this.asked.key, step: 'stop', error });
    });
    return this.#settle(preventedOutcome(claim, this.#room.now()));
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

  #isolationOver(): boolean {
    const { isolation, askedAt } = this.asked;
    return isolation !== null && this.#nowMs() - Date.parse(askedAt) > isolation.timeoutSeconds * 1000;
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
