import { readOnce, temporaryBeside, writeDurable, writeOnce } from '../staging/atomic-file.ts';
import type { Volume } from '../mount/volume.ts';
import type { Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import type { Language } from '../protocol/run-order.ts';
import type { ScriptIsolation } from '../protocol/script-request.ts';
import type { Outcome } from '../protocol/script-status.ts';
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
  readonly labels: Readonly<Record<string, string>>;
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
 */
export class TicketRecords {
  readonly #volume: Volume;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** Publishes a record; false where the ticket has one already, from whichever agent. Durable on return. */
  async publish(asked: Asked): Promise<boolean> {
    const target = this.#volume.layout.ticket(asked.key);
    const temporary = this.#volume.layout.temporaryTicket(temporaryBeside(asked.key));
    await this.#volume.makeFolder(temporary.root);
    await this.#volume.makeFolder(temporary.lines);
    await writeDurable(this.#volume, temporary.asked, Buffer.from(JSON.stringify(asked)));
    await this.#volume.syncFolder(temporary.root);
    const published = await this.#volume.renameExclusive(temporary.root, target.root);
    if (published) await this.#volume.syncFolder(this.#volume.layout.tickets);
    else await this.#volume.removeTree(temporary.root);
    return published;
  }

  /** Reads what was asked; undefined where there is no record. @throws {Fault} STORAGE_ERROR for one that is broken. */
  async asked(key: ScriptKey): Promise<Asked | undefined> {
    const path = this.#volume.layout.ticket(key).asked;
    const bytes = await this.#volume.read(path, MAX_ASKED_BYTES);
    return bytes && parseRecord<Asked>(bytes, path);
  }

  /** Keys of all records, in no order. Names that are not keys are left alone. */
  async keys(): Promise<ScriptKey[]> {
    const entries = (await this.#volume.list(this.#volume.layout.tickets)) ?? [];
    return entries.map((entry) => parseScriptKey(entry.name)).filter((key) => key !== undefined);
  }

  /** Records that a cancel was asked for; false where it was before. Durable on return. */
  async recordCancel(key: ScriptKey, at: string): Promise<boolean> {
    return writeOnce(
      this.#volume,
      this.#volume.layout.ticket(key).cancel,
      Buffer.from(JSON.stringify({ at })),
    );
  }

  async isCancelled(key: ScriptKey): Promise<boolean> {
    return (
      (await readOnce(this.#volume, this.#volume.layout.ticket(key).cancel, MAX_OUTCOME_BYTES)) !== undefined
    );
  }

  /** Settles a script; false where it was settled before, and then the earlier outcome stands. Durable on return. */
  async recordOutcome(key: ScriptKey, outcome: Outcome): Promise<boolean> {
    return writeOnce(
      this.#volume,
      this.#volume.layout.ticket(key).outcome,
      Buffer.from(JSON.stringify(outcome)),
    );
  }

  async outcome(key: ScriptKey): Promise<Outcome | undefined> {
    const path = this.#volume.layout.ticket(key).outcome;
    const bytes = await readOnce(this.#volume, path, MAX_OUTCOME_BYTES);
    return bytes && parseRecord<Outcome>(bytes, path);
  }

  async recordTombstone(key: ScriptKey, tombstone: Tombstone): Promise<boolean> {
    return writeOnce(
      this.#volume,
      this.#volume.layout.ticket(key).tombstone,
      Buffer.from(JSON.stringify(tombstone)),
    );
  }

  async tombstone(key: ScriptKey): Promise<Tombstone | undefined> {
    const path = this.#volume.layout.ticket(key).tombstone;
    const bytes = await readOnce(this.#volume, path, MAX_OUTCOME_BYTES);
    return bytes && parseRecord<Tombstone>(bytes, path);
  }

  /** Removes the whole record; afterwards the ticket may be used again. */
  async forget(key: ScriptKey): Promise<void> {
    await this.#volume.removeTree(this.#volume.layout.ticket(key).root);
  }
}

function parseRecord<T>(bytes: Buffer, path: string): T {
  try {
    // Only agents write here, each file whole: what parses is what one of them wrote.
    return JSON.parse(bytes.toString('utf8')) as T;
  } catch (error) {
    throw new Fault('STORAGE_ERROR', `${path} is not the JSON that an agent wrote`, {
      cause: error,
      detail: { path },
    });
  }
}
