import type { PodLine } from '../executors/executor.ts';
import type { ScriptKey } from '../protocol/ticket.ts';
import type { Refusal } from './launch-trial.ts';
import type { ScriptRoom } from './script-room.ts';

/** Puts what happens around a script into its journal; never fails: what cannot be written is told as trouble. */
export class PodNotes {
  readonly #room: ScriptRoom;
  readonly #key: ScriptKey;
  readonly #added: () => void;
  /** Marks that are in the journal: only to ask the volume less. */
  readonly #known = new Set<string>();

  constructor(room: ScriptRoom, key: ScriptKey, added: () => void) {
    this.#room = room;
    this.#key = key;
    this.#added = added;
  }

  /** What is in the way, once for each code. */
  async tell(trouble: Refusal | undefined): Promise<void> {
    if (trouble?.says !== undefined) await this.add({ text: trouble.says, mark: `trouble-${trouble.code}` });
  }

  async add({ text, mark }: PodLine): Promise<void> {
    if (this.#known.has(mark)) return;
    try {
      await this.#room.lines.add(this.#key, { stream: 'pod', text, mark });
      this.#known.add(mark);
      this.#added();
    } catch (error) {
      this.#room.observe({ type: 'trouble', key: this.#key, step: 'pod line', error });
    }
  }
}
