import type { ScriptKey } from '../protocol/ticket.ts';
import { IsolationLine } from './isolation-line.ts';
import type { ScriptRoom } from './script-room.ts';
import type { Asked } from './ticket-record.ts';

/** The place of one script in the line of its isolation name; a script without isolation has its turn at once. */
export class IsolationTurn {
  readonly #room: ScriptRoom;
  readonly #asked: Asked;
  readonly #line: IsolationLine | undefined;

  constructor(room: ScriptRoom, asked: Asked) {
    this.#room = room;
    this.#asked = asked;
    const isOver = (key: ScriptKey): Promise<boolean> => room.records.isOver(key);
    this.#line = asked.isolation ? new IsolationLine(room.volume, asked.isolation.name, isOver) : undefined;
  }

  /** Tells whether the script may run now; where it may not, a line of its journal says whom it waits for. */
  async hasCome(): Promise<boolean> {
    const { key, isolation } = this.#asked;
    if (this.#line === undefined || isolation === null) return true;
    const turn = await this.#line.turn(key, isolation.level);
    const waitsFor = turn.runs ? this.#keptInFront() : turn.waitsFor;
    if (waitsFor === undefined) return true;
    const other = this.#room.kept.get(waitsFor)?.asked ?? (await this.#room.records.asked(waitsFor));
    const who = other ? `${other.ticket} of ${other.server}` : waitsFor;
    const text = `waiting for the isolation line "${isolation.name}": ${who} is in front`;
    await this.#room.lines.add(key, { stream: 'agent', text, mark: `line-${waitsFor}` });
    return false;
  }

  /** The script has waited for longer than it wants to. */
  get isOver(): boolean {
    const { isolation, askedAt } = this.#asked;
    if (isolation === null) return false;
    return this.#room.now().getTime() - Date.parse(askedAt) > isolation.timeoutSeconds * 1000;
  }

  /** Gives the place up. May be repeated. */
  async leave(): Promise<void> {
    await this.#line?.leave(this.#asked.key);
  }

  /** A script that outlived its volume still runs, and its place went with the volume. */
  #keptInFront(): ScriptKey | undefined {
    const { key, isolation } = this.#asked;
    const inFront = this.#room.kept.all.find(
      ({ asked, outcome }) =>
        asked.key !== key &&
        outcome === null &&
        asked.isolation?.name === isolation?.name &&
        (asked.isolation?.level === 'full' || isolation?.level === 'full'),
    );
    return inFront?.asked.key;
  }
}
