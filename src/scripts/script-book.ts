import type { VolumeFile } from '../mount/volume-file.ts';
import type { Cursor } from '../protocol/cursor.ts';
import { Fault } from '../protocol/fault.ts';
import type { ScriptRequest } from '../protocol/script-request.ts';
import { stateFrom, type ScriptState } from '../protocol/script-state.ts';
import type { Outcome, JournalLine, ScriptStatus } from '../protocol/script-status.ts';
import { agentKeyName } from '../protocol/seal.ts';
import { scriptKeyFor, type ScriptKey, type Ticket } from '../protocol/ticket.ts';
import { removeWorkspace } from '../staging/workspace.ts';
import { readPage, type PlaceInWitness } from './journal-page.ts';
import { listArtifacts, openArtifact, type Artifact } from './script-artifacts.ts';
import { ScriptDriver } from './script-driver.ts';
import { proveAbsence, type ScriptRoom } from './script-room.ts';
import { foreignKey, publishScript, type Start } from './script-start.ts';
import { readClaim } from './started-claim.ts';
import type { Asked } from './ticket-record.ts';
import { Wakeup } from './wakeup.ts';

/** What a status call asks for: lines after a place, and how long to wait for some. */
export interface StatusQuery {
  readonly after: Cursor;
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

const MAX_PLACES = 2000;
const FOREIGN_POLL_MS = 500;

/**
 * Every call about scripts, by server and ticket; a ticket belongs to the server that made it.
 *
 * The book is the volume. Here are only the drivers of scripts that are not over, and places in journals that save
 * a search; both can be lost at any time. All calls are idempotent and may come concurrently.
 */
export class ScriptBook {
  readonly #room: ScriptRoom;
  readonly #drivers = new Map<ScriptKey, ScriptDriver>();
  readonly #starting = new Map<ScriptKey, Promise<void>>();
  readonly #places = new Map<ScriptKey, PlaceInWitness>();
  readonly #closed = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(room: ScriptRoom) {
    this.#room = room;
  }

  /** How many scripts are in each state, of those that are not over. */
  get counts(): ReadonlyMap<ScriptState, number> {
    const counts = new Map<ScriptState, number>();
    for (const { state } of this.#drivers.values()) counts.set(state, (counts.get(state) ?? 0) + 1);
    return counts;
  }

  /**
   * Starts a script, or finds it started; durable on return.
   *
   * @throws {Fault} TICKET_CONFLICT, TICKET_COMPLETED, SCRIPTS_TOO_MANY, AGENT_STOPPING, and the codes of staging.
   */
  async start(server: string, ticket: Ticket, request: ScriptRequest): Promise<void> {
    const key = scriptKeyFor(server, ticket);
    // One after the other: of equal requests that come at once the first stages, and the others find its record.
    const before = this.#starting.get(key) ?? Promise.resolve();
    const publishing = before.then(
      () => this.#publish({ key, server, ticket, request }),
      () => this.#publish({ key, server, ticket, request }),
    );
    this.#starting.set(key, publishing);
    try {
      await publishing;
    } finally {
      if (this.#starting.get(key) === publishing) this.#starting.delete(key);
    }
  }

  /** Tells state, outcome and lines; waits until there is something new. @throws {Fault} TICKET_UNKNOWN, TICKET_COMPLETED. */
  async status(server: string, ticket: Ticket, query: StatusQuery): Promise<ScriptStatus> {
    const asked = await this.#askedOf(server, ticket);
    const until = performance.now() + query.waitMs;
    const signal = AbortSignal.any([query.signal, this.#closed.signal]);
    const before = (await this.#seen(asked)).state;
    for (;;) {
      const status = await this.#statusNow(asked, query.after);
      const leftMs = until - performance.now();
      const news = status.journal.lines.length > 0 || status.outcome !== null || status.state !== before;
      if (news || leftMs <= 0 || signal.aborted) return status;
      await this.#news(asked.key, leftMs, signal);
    }
  }

  /** Records a cancel, which holds from then on; a script that is over stays as it is. @throws {Fault} TICKET_UNKNOWN. */
  async cancel(server: string, ticket: Ticket): Promise<void> {
    const asked = await this.#askedOf(server, ticket);
    const { records, lines, now } = this.#room;
    const driver = this.#drivers.get(asked.key);
    if (this.#room.kept.get(asked.key)) return driver?.cancel();
    if (await records.outcome(asked.key)) return;
    await records.recordCancel(asked.key, now().toISOString());
    // Before the end that it causes: who follows the journal leaves with the outcome.
    await lines.add(asked.key, { stream: 'agent', text: 'cancel was asked for', mark: 'cancel' });
    driver?.wake();
  }

  /** Removes what a finished script left and keeps its ticket from ever running again. @throws {Fault} TICKET_UNKNOWN, SCRIPT_UNFINISHED. */
  async complete(server: string, ticket: Ticket): Promise<void> {
    const key = scriptKeyFor(server, ticket);
    const kept = this.#room.kept.get(key);
    const asked = kept?.asked ?? (await this.#room.records.asked(key));
    if (asked === undefined) throw await this.#unknown(ticket);
    const outcome = kept ? kept.outcome : await this.#room.records.outcome(key);
    if (!outcome) {
      const { state } = await this.#seen(asked);
      throw new Fault('SCRIPT_UNFINISHED', `${ticket} is ${state}; cancel it or wait for its end`, {
        detail: { ticket },
      });
    }
    await this.bury(asked, outcome);
  }

  /** As complete, for a script that is known to be over; what a kill left half done is finished by repeating it. */
  async bury(asked: Asked, outcome: Outcome): Promise<void> {
    const { records, volume, executor, now, kept } = this.#room;
    const lost = kept.get(asked.key);
    if (lost) {
      // The volume gets it when it is back; until then the ticket does not run again either.
      await executor.remove(asked.key, lost.claim ?? undefined);
      return kept.put({ ...lost, tombstone: { completedAt: now().toISOString(), code: outcome.code } });
    }
    const claim = await readClaim(volume, asked.key);
    await records.recordTombstone(asked.key, { completedAt: now().toISOString(), code: outcome.code });
    await executor.remove(asked.key, claim === 'unreadable' ? undefined : claim);
    await removeWorkspace(volume, asked.key);
    this.#places.delete(asked.key);
    this.#room.observe({ type: 'completed', key: asked.key });
  }

  async artifacts(server: string, ticket: Ticket): Promise<readonly Artifact[]> {
    return listArtifacts(this.#room.volume, await this.#finishedKey(server, ticket));
  }

  async openArtifact(
    server: string,
    ticket: Ticket,
    name: string,
  ): Promise<{ size: number; file: VolumeFile }> {
    return openArtifact(this.#room.volume, await this.#finishedKey(server, ticket), name);
  }

  /** Takes care of a script until it is over; nothing happens where that is so already. */
  follow(asked: Asked, isNew = false): void {
    if (this.#drivers.has(asked.key) || this.#closed.signal.aborted) return;
    if (asked.agentKeyName !== agentKeyName(this.#room.agentKey)) return;
    const driver = new ScriptDriver(this.#room, asked, { closed: this.#closed.signal, isNew });
    this.#drivers.set(asked.key, driver);
    const driving = driver.drive().finally(() => {
      this.#drivers.delete(asked.key);
      this.#running.delete(driving);
      driver.news.wake();
      this.#wakeLine(asked);
    });
    this.#running.add(driving);
  }

  isFollowed(key: ScriptKey): boolean {
    return this.#drivers.has(key);
  }

  /** Whether nothing that is followed needs the volume that was lost: what is kept beside it does not. */
  get isSettled(): boolean {
    return [...this.#drivers.keys()].every((key) => this.#room.kept.get(key) !== undefined);
  }

  /** Ends long-polls and drivers; runners go on and belong to the next agent. */
  async close(): Promise<void> {
    this.#closed.abort();
    await Promise.allSettled([...this.#running, ...this.#starting.values()]);
  }

  async #publish(start: Start): Promise<void> {
    if (this.#closed.signal.aborted)
      throw new Fault('AGENT_STOPPING', 'the agent is stopping and takes no new scripts');
    const isKnown = this.#room.kept.get(start.key) ?? (await this.#room.records.asked(start.key));
    if (isKnown === undefined) this.#admit();
    const { asked, isNew } = await publishScript(this.#room, start);
    this.follow(asked, isNew);
  }

  #admit(): void {
    const { maxScripts } = this.#room.limits;
    const unfinished = this.#drivers.size;
    if (unfinished < maxScripts) return;
    throw new Fault(
      'SCRIPTS_TOO_MANY',
      `${unfinished} scripts are unfinished, and maxScripts is ${maxScripts}`,
    );
  }

  async #askedOf(server: string, ticket: Ticket): Promise<Asked> {
    const key = scriptKeyFor(server, ticket);
    // What was asked never changes, and what is followed here is neither completed nor sealed with another key.
    const followed = this.#drivers.get(key);
    const kept = this.#room.kept.get(key);
    if (followed && !kept?.tombstone) return followed.asked;
    const asked = kept?.asked ?? (await this.#room.records.asked(key));
    if (asked === undefined) throw await this.#unknown(ticket);
    const tombstone = kept ? kept.tombstone : await this.#room.records.tombstone(key);
    if (tombstone) {
      const message = `${ticket} ended as ${tombstone.code} and was completed at ${tombstone.completedAt}`;
      throw new Fault('TICKET_COMPLETED', message, { detail: { ticket, outcome: tombstone.code } });
    }
    if (asked.agentKeyName !== agentKeyName(this.#room.agentKey)) throw foreignKey(asked, this.#room);
    return asked;
  }

  async #finishedKey(server: string, ticket: Ticket): Promise<ScriptKey> {
    const asked = await this.#askedOf(server, ticket);
    const { state } = await this.#seen(asked);
    if (state === 'finished') return asked.key;
    throw new Fault('SCRIPT_UNFINISHED', `${ticket} is ${state}; artifacts are there when it has finished`, {
      detail: { ticket },
    });
  }

  async #seen(asked: Asked): Promise<{ state: ScriptState; outcome: Outcome | undefined }> {
    const driver = this.#drivers.get(asked.key);
    if (driver && driver.state !== 'finished') return { state: driver.state, outcome: undefined };
    const kept = this.#room.kept.get(asked.key);
    if (kept) return { state: kept.outcome ? 'finished' : 'running', outcome: kept.outcome ?? undefined };
    const outcome = await this.#room.records.outcome(asked.key);
    const started = outcome !== undefined || (await readClaim(this.#room.volume, asked.key)) !== undefined;
    const evidence = {
      tombstone: false,
      outcome: outcome !== undefined,
      started,
      launched: false,
      inLine: false,
    };
    return { state: stateFrom(evidence), outcome };
  }

  async #statusNow(asked: Asked, after: Cursor): Promise<ScriptStatus> {
    // The outcome first: what is read of the journal afterwards is then the whole of it.
    const { state, outcome } = await this.#seen(asked);
    const driver = this.#drivers.get(asked.key);
    const read = { after, outcome, place: this.#places.get(asked.key), claim: driver?.claim };
    const { page, place, gaps } = await readPage(this.#room, asked, read);
    this.#remember(asked.key, place);
    this.#tellRead(page.lines, gaps);
    return { ticket: asked.ticket, state, outcome: outcome ?? null, labels: asked.labels, journal: page };
  }

  /** A ticket that nobody knows, on a volume that is proven to be the one that it would be on. */
  async #unknown(ticket: Ticket): Promise<Fault> {
    await proveAbsence(this.#room);
    return unknownTicket(ticket);
  }

  async #news(key: ScriptKey, ms: number, signal: AbortSignal): Promise<void> {
    const driver = this.#drivers.get(key);
    if (driver) return driver.news.next(ms, signal);
    // Another agent's, or one with another key: nobody here has news of it.
    await new Wakeup().next(Math.min(ms, FOREIGN_POLL_MS), signal);
  }

  #remember(key: ScriptKey, place: PlaceInWitness): void {
    this.#places.delete(key);
    this.#places.set(key, place);
    const [oldest] = this.#places.keys();
    if (this.#places.size > MAX_PLACES && oldest !== undefined) this.#places.delete(oldest);
  }

  #tellRead(lines: readonly JournalLine[], gaps: number): void {
    const lastAt = lines.at(-1)?.at;
    const lagSeconds =
      lastAt === undefined ? undefined : (this.#room.now().getTime() - Date.parse(lastAt)) / 1000;
    this.#room.observe({ type: 'read', lines: lines.length, gaps, lagSeconds });
  }

  #wakeLine(asked: Asked): void {
    if (asked.isolation === null) return;
    for (const driver of this.#drivers.values()) {
      if (driver.asked.isolation?.name === asked.isolation.name) driver.wake();
    }
  }
}

function unknownTicket(ticket: Ticket): Fault {
  return new Fault('TICKET_UNKNOWN', `no script ${ticket} was started with this token`, {
    detail: { ticket },
  });
}
