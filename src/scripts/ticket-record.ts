import { Ballast } from '../staging/ballast.ts';
import { readOnce, temporaryBeside, writeDurable, writeOnce } from '../staging/atomic-file.ts';
import type { Volume } from '../mount/volume.ts';
import type { Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import type { PodWishes } from '../protocol/pod-wishes.ts';
import type { Language } from '../protocol/run-order.ts';
import type { ScriptIsolation } from '../protocol/script-request.ts';
import type { Outcome } from '../protocol/script-status.ts';
import { agentKeyName, openSigned, scriptSealKey, signText, type AgentKey } from '../protocol/seal.ts';
import { parseScriptKey, type ScriptKey, type Ticket } from '../protocol/ticket.ts';

/** What was asked and what was staged for it; written once, with the record, and never changed. */
export interface Asked {
  readonly version: 1;
  readonly key: ScriptKey;
  readonly server: string;
  readonly ticket: Ticket;
  readonly askedAt: string;
  /** HMAC of the canonical body: tells the same body from another without telling its secrets. */
  readonly bodyMark: string;
  /** Name of the agent key that seals this script. */
  readonly agentKeyName: string;
  /** The folder that becomes the workspace; see publishWorkspace. */
  readonly staging: string;
  readonly manifestDigest: Sha256;
  readonly files: number;
  readonly bytes: number;
  readonly language: Language;
  readonly arguments: readonly string[];
  /** Variables as JSON, sealed. */
  readonly sealedVariables: string;
  readonly isolation: (ScriptIsolation & { readonly timeoutSeconds: number }) | null;
  readonly deadlineMs: number;
  readonly graceMs: number;
  /** Left out for a script that works in its workspace. */
  readonly storage?: 'copied';
  readonly labels: Readonly<Record<string, string>>;
  /** What the script wishes of its pod. */
  readonly pod?: PodWishes;
}

/** Left behind when a script was completed: its ticket never runs again (invariant 3). */
export interface Tombstone {
  readonly completedAt: string;
  readonly code: string;
}

const MAX_ASKED_BYTES = 16 * 1024 * 1024;
const MAX_OUTCOME_BYTES = 1024 * 1024;

/**
 * The records of scripts on the volume.
 *
 * A record is a folder that one rename publishes, which is the moment from which the script exists; everything that
 * happens to it later is a file of its own, written once. Nothing is kept in memory.
 *
 * Each file is signed with a key that only agents have: a script that can write to the volume cannot invent an
 * outcome (invariant 4).
 */
export class TicketRecords {
  readonly #volume: Volume;
  readonly #agentKey: AgentKey;
  readonly #ballast: Ballast;

  constructor(volume: Volume, agentKey: AgentKey) {
    this.#volume = volume;
    this.#ballast = new Ballast(volume);
    this.#agentKey = agentKey;
  }

  /** Publishes a record; false where the ticket has one already, from whichever agent. Durable on return. */
  async publish(asked: Asked): Promise<boolean> {
    const target = this.#volume.layout.ticket(asked.key);
    const temporary = this.#volume.layout.temporaryTicket(temporaryBeside(asked.key));
    await this.#volume.makeFolder(temporary.root);
    await this.#volume.makeFolder(temporary.lines);
    await writeDurable(this.#volume, temporary.asked, this.#signed(asked.key, 'asked', asked));
    await this.#volume.syncFolder(temporary.root);
    const published = await this.#volume.renameExclusive(temporary.root, target.root);
    if (published) await this.#volume.syncFolder(this.#volume.layout.tickets);
    else await this.#volume.removeTree(temporary.root);
    return published;
  }

  /**
   * Reads what was asked; undefined where there is no record. One of agents with another key comes unchecked: its
   * `agentKeyName` says so, and nothing may be done with it.
   *
   * @throws {Fault} STORAGE_ERROR for one that no agent wrote.
   */
  async asked(key: ScriptKey): Promise<Asked | undefined> {
    const path = this.#volume.layout.ticket(key).asked;
    const bytes = await this.#volume.read(path, MAX_ASKED_BYTES);
    if (bytes === undefined) return undefined;
    const { text, isAuthentic } = openSigned(this.#keyFor(key), 'asked', bytes.toString('utf8'));
    const asked = parseRecord<Asked>(text, path);
    if (!isAuthentic && asked.agentKeyName === agentKeyName(this.#agentKey)) throw forged(path);
    return asked;
  }

  /** Keys of all records, in no order. Names that are not keys are left alone. */
  async keys(): Promise<ScriptKey[]> {
    const entries = (await this.#volume.list(this.#volume.layout.tickets)) ?? [];
    return entries.map((entry) => parseScriptKey(entry.name)).filter((key) => key !== undefined);
  }

  /** Records that a cancel was asked for; false where it was before. Durable on return. */
  async recordCancel(key: ScriptKey, at: string): Promise<boolean> {
    return this.#write(this.#volume.layout.ticket(key).cancel, Buffer.from(JSON.stringify({ at })));
  }

  async isCancelled(key: ScriptKey): Promise<boolean> {
    return (
      (await readOnce(this.#volume, this.#volume.layout.ticket(key).cancel, MAX_OUTCOME_BYTES)) !== undefined
    );
  }

  /** Settles a script; false where it was settled before, and then the earlier outcome stands. Durable on return. */
  async recordOutcome(key: ScriptKey, outcome: Outcome): Promise<boolean> {
    return this.#write(this.#volume.layout.ticket(key).outcome, this.#signed(key, 'outcome', outcome));
  }

  /** Reads the outcome; undefined where the script is not settled. @throws {Fault} STORAGE_ERROR for one that no agent of this key wrote. */
  async outcome(key: ScriptKey): Promise<Outcome | undefined> {
    return this.#opened<Outcome>(key, 'outcome');
  }

  /** Whether the script of `key` is over, or was never asked for; also for scripts of agents with another key. */
  async isOver(key: ScriptKey): Promise<boolean> {
    const { outcome, asked } = this.#volume.layout.ticket(key);
    return (await this.#volume.look(outcome)) !== undefined || (await this.#volume.look(asked)) === undefined;
  }

  async recordTombstone(key: ScriptKey, tombstone: Tombstone): Promise<boolean> {
    return this.#write(this.#volume.layout.ticket(key).tombstone, this.#signed(key, 'tombstone', tombstone));
  }

  async tombstone(key: ScriptKey): Promise<Tombstone | undefined> {
    return this.#opened<Tombstone>(key, 'tombstone');
  }

  /** Removes the whole record; afterwards the ticket may be used again. */
  async forget(key: ScriptKey): Promise<void> {
    await this.#volume.removeTree(this.#volume.layout.ticket(key).root);
  }

  /** Also on a full volume: what these records say ends a script and gives its room back. */
  async #write(path: string, bytes: Buffer): Promise<boolean> {
    return this.#ballast.spendFor(() => writeOnce(this.#volume, path, bytes));
  }

  async #opened<T>(key: ScriptKey, name: 'outcome' | 'tombstone'): Promise<T | undefined> {
    const path = this.#volume.layout.ticket(key)[name];
    const bytes = await readOnce(this.#volume, path, MAX_OUTCOME_BYTES);
    if (bytes === undefined) return undefined;
    const { text, isAuthentic } = openSigned(this.#keyFor(key), name, bytes.toString('utf8'));
    if (!isAuthentic) throw forged(path);
    return parseRecord<T>(text, path);
  }

  #signed(key: ScriptKey, name: 'asked' | 'outcome' | 'tombstone', record: object): Buffer {
    return Buffer.from(signText(this.#keyFor(key), name, JSON.stringify(record)));
  }

  #keyFor(key: ScriptKey): Buffer {
    return scriptSealKey(this.#agentKey, key, 'record');
  }
}

function forged(path: string): Fault {
  return new Fault('STORAGE_ERROR', `${path} was not written by an agent with this key`, {
    detail: { path },
  });
}

function parseRecord<T>(text: string, path: string): T {
  try {
    // Signed, so an agent wrote it, and agents write this.
    return JSON.parse(text) as T;
  } catch (error) {
    throw new Fault('STORAGE_ERROR', `${path} is not the JSON that an agent wrote`, {
      cause: error,
      detail: { path },
    });
  }
}
