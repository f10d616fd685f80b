import type { ScriptKey } from '../protocol/ticket.ts';
import type { ScriptRoom } from './script-room.ts';

/** Says in the journal of a script how long the storage was away while the script was followed. */
export class MountNotes {
  readonly #room: ScriptRoom;
  readonly #key: ScriptKey;
  #toldSinceMs: number;

  constructor(room: ScriptRoom, key: ScriptKey) {
    this.#room = room;
    this.#key = key;
    this.#toldSinceMs = room.mount.belief().sinceMs;
  }

  /** Adds one line for each time that the storage came back; returns for how long it was away. @throws {Fault} STORAGE_ codes. */
  async tell(): Promise<number> {
    const { verdict, sinceMs, after } = this.#room.mount.belief();
    if (verdict !== 'trusted' || after === null || sinceMs === this.#toldSinceMs) return 0;
    const seconds = (after.lastedMs / 1000).toFixed(1);
    const text =
      after.verdict === 'stalled'
        ? `the storage stalled for ${seconds} s and came back whole`
        : `the storage is back after it was lost for ${seconds} s`;
    const mark = `storage-${this.#room.now().getTime()}`;
    await this.#room.lines.add(this.#key, { stream: 'agent', text, mark });
    this.#toldSinceMs = sinceMs;
    return after.lastedMs;
  }
}
