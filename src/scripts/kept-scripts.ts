import { KEPT_MAX_BYTES, type ScriptKeep } from '../executors/executor.ts';
import type { StartedClaim } from '../protocol/run-order.ts';
import type { Outcome } from '../protocol/script-status.ts';
import { openSigned, scriptSealKey, signText, type AgentKey } from '../protocol/seal.ts';
import type { ScriptKey } from '../protocol/ticket.ts';
import type { AgentLine } from './agent-lines.ts';
import type { Asked, Tombstone } from './ticket-record.ts';

/** All that is known of a script whose volume was lost, as far as anybody may still ask for it. */
export interface KeptScript {
  readonly version: 1;
  /** Without arguments and variables: it is launched no more. */
  readonly asked: Asked;
  readonly claim: StartedClaim | null;
  readonly outcome: Outcome | null;
  readonly tombstone: Tombstone | null;
  readonly cancelled: boolean;
  /** The agent's own lines, the first of them with the number `firstLine`. */
  readonly lines: readonly AgentLine[];
  readonly firstLine: number;
}

const CONTEXT = 'kept';

/**
 * The scripts that are kept beside the volume because it was lost under them, in memory and in the keep.
 *
 * Signed like the records of the volume: what others wrote into the keep is not believed (invariant 4). Agents that
 * share a keep see what the others kept when they read it, which is at their start and after each loss.
 */
export class KeptScripts {
  readonly #keep: ScriptKeep;
  readonly #agentKey: AgentKey;
  readonly #kept = new Map<ScriptKey, KeptScript>();

  constructor(keep: ScriptKeep, agentKey: AgentKey) {
    this.#keep = keep;
    this.#agentKey = agentKey;
  }

  /** Reads what agents before this one, or beside it, have kept; returns how many texts are none of ours. @throws {Fault} CLUSTER_ codes. */
  async load(): Promise<number> {
    let foreign = 0;
    for (const [key, text] of await this.#keep.all()) {
      const { text: json, isAuthentic } = openSigned(this.#keyFor(key), CONTEXT, text);
      // Signed, so an agent wrote it, and agents write this.
      if (isAuthentic) this.#kept.set(key, JSON.parse(json) as KeptScript);
      else foreign += 1;
    }
    return foreign;
  }

  get(key: ScriptKey): KeptScript | undefined {
    return this.#kept.get(key);
  }

  get all(): readonly KeptScript[] {
    return [...this.#kept.values()];
  }

  /** Keeps `script`, durable on return; where it is too large, its oldest lines are left out. @throws {Fault} CLUSTER_ codes. */
  async put(script: KeptScript): Promise<void> {
    const { key } = script.asked;
    const slim = { ...script, asked: { ...script.asked, arguments: [], sealedVariables: '' } };
    let text = this.#signed(key, slim);
    for (let { lines, firstLine } = slim; Buffer.byteLength(text) > KEPT_MAX_BYTES && lines.length > 0;) {
      const dropped = Math.ceil(lines.length / 2);
      [lines, firstLine] = [lines.slice(dropped), firstLine + dropped];
      text = this.#signed(key, { ...slim, lines, firstLine });
    }
    await this.#keep.put(key, text);
    this.#kept.set(key, slim);
  }

  /** Forgets a script, in the keep first. @throws {Fault} CLUSTER_ codes. */
  async forget(key: ScriptKey): Promise<void> {
    if (!this.#kept.has(key)) return;
    await this.#keep.forget(key);
    this.#kept.delete(key);
  }

  #signed(key: ScriptKey, script: KeptScript): string {
    return signText(this.#keyFor(key), CONTEXT, JSON.stringify(script));
  }

  #keyFor(key: ScriptKey): Buffer {
    return scriptSealKey(this.#agentKey, key, 'record');
  }
}
