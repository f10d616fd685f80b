import { sha256Of } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import type { ScriptIsolation } from '../protocol/script-request.ts';
import type { IsolationLayout } from '../protocol/volume-layout.ts';
import { parseScriptKey, type ScriptKey } from '../protocol/ticket.ts';
import { readOnce, writeOnce } from '../staging/atomic-file.ts';
import type { Volume } from '../mount/volume.ts';

/** A place in the line. Of the places of one script only the one that its mark names counts. */
interface Place {
  readonly number: number;
  readonly level: ScriptIsolation['level'];
  readonly key: ScriptKey;
}

/** May the script run now, or whom does it wait for. */
export type Turn = { readonly runs: true } | { readonly runs: false; readonly waitsFor: ScriptKey };

const NUMBER = /^[0-9]{12}$/;
const MAX_PLACE_BYTES = 4096;
const MAX_ATTEMPTS = 200;

/**
 * The line in front of one isolation name, kept on the volume: FIFO, over restarts and agents (invariant 10).
 *
 *   isolation/<name>/<number>     who stands there; made exclusively
 *   isolation/<name>/<key>.mark   the one number of a script that counts; written once
 *
 * Who enters takes the number behind the last one and looks again. Where a higher number is there by then, its owner
 * may have looked before and not seen this one, so the place is given up and another taken; else the number is written
 * into the script's mark. Hence of any two marked places the later one was made after the earlier one was there, and
 * its owner sees it and waits, however late a write arrives. Several agents may enter for one script, and one of them
 * may stop anywhere: the mark is written once, so their other places can never count, and until it is written all of
 * them stand in the way of those behind. A place of a script that is over counts for nothing, so nobody who dies
 * before leaving blocks anybody. The last place of a line is never removed: so numbers are never given twice, and a
 * removal that arrives late cannot take the place of another script.
 */
export class IsolationLine {
  readonly #volume: Volume;
  readonly #layout: IsolationLayout;
  readonly #isOver: (key: ScriptKey) => Promise<boolean>;

  constructor(volume: Volume, name: string, isOver: (key: ScriptKey) => Promise<boolean>) {
    this.#volume = volume;
    // The hash keeps names apart on file systems that ignore case.
    this.#layout = volume.layout.isolationLine(`${name.toLowerCase()}-${sha256Of(name).slice(0, 12)}`);
    this.#isOver = isOver;
  }

  /** Says whose turn it is, after taking a place for `key` if it has none. Repeating it changes nothing. */
  async turn(key: ScriptKey, level: ScriptIsolation['level']): Promise<Turn> {
    const own = await this.#enter(key, level);
    const inFront = (await this.#places()).filter(
      (place) => place.number < own && place.key !== key && (level === 'full' || place.level === 'full'),
    );
    for (const place of inFront) {
      const marked = await this.#marked(place.key);
      const counts = marked === undefined || marked === place.number;
      if (counts && !(await this.#isOver(place.key))) return { runs: false, waitsFor: place.key };
      await this.#remove(place.number);
    }
    return { runs: true };
  }

  /** Gives up the places of `key`, which is over; nothing happens where it has none. */
  async leave(key: ScriptKey): Promise<void> {
    const line = await this.#places();
    for (const place of line.slice(0, -1)) if (place.key === key) await this.#remove(place.number);
    await this.#volume.removeTree(this.#layout.mark(key));
  }

  async #enter(key: ScriptKey, level: ScriptIsolation['level']): Promise<number> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const marked = await this.#marked(key);
      if (marked !== undefined) return marked;
      const number = ((await this.#places()).at(-1)?.number ?? 0) + 1;
      if (await this.#take({ number, level, key })) return number;
    }
    throw new Fault(
      'STORAGE_BUSY',
      `no place in the line ${this.#layout.root} after ${MAX_ATTEMPTS} attempts`,
    );
  }

  /** Takes a number that nobody has; false where it cannot count, and then it was given up again. */
  async #take({ number, level, key }: Place): Promise<boolean> {
    await this.#volume.makeFolder(this.#layout.root);
    const stands = Buffer.from(JSON.stringify({ level, key }));
    if (!(await writeOnce(this.#volume, this.#layout.place(number), stands))) return false;
    const last = (await this.#places()).at(-1)?.number ?? 0;
    if (last <= number) return writeOnce(this.#volume, this.#layout.mark(key), Buffer.from(String(number)));
    // Only who took a number may give it up before the script is over: nobody else knows that no mark will name it.
    await this.#remove(number);
    return false;
  }

  /** Removes a place behind which another one stands or stood. */
  async #remove(number: number): Promise<void> {
    await this.#volume.removeTree(this.#layout.place(number));
  }

  async #marked(key: ScriptKey): Promise<number | undefined> {
    const bytes = await readOnce(this.#volume, this.#layout.mark(key), MAX_PLACE_BYTES);
    return bytes && Number(bytes.toString('utf8'));
  }

  async #places(): Promise<Place[]> {
    const names = ((await this.#volume.list(this.#layout.root)) ?? []).map(({ name }) => name).sort();
    const places: Place[] = [];
    for (const number of names.filter((name) => NUMBER.test(name)).map(Number)) {
      const bytes = await readOnce(this.#volume, this.#layout.place(number), MAX_PLACE_BYTES);
      const stands = bytes && parsePlace(bytes);
      if (stands) places.push({ ...stands, number });
    }
    return places;
  }
}

function parsePlace(bytes: Buffer): Pick<Place, 'level' | 'key'> | undefined {
  // Only agents write here, and only whole: writeOnce.
  const { level, key } = JSON.parse(bytes.toString('utf8')) as { level: Place['level']; key: string };
  const parsed = parseScriptKey(key);
  return parsed && { level, key: parsed };
}
