import { sha256Of } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import type { ScriptIsolation } from '../protocol/script-request.ts';
import { sureName, type IsolationLayout } from '../protocol/volume-layout.ts';
import { parseScriptKey, type ScriptKey } from '../protocol/ticket.ts';
import { readOnce, writeOnce } from '../staging/atomic-file.ts';
import type { Volume } from '../mount/volume.ts';

/** A place in the line. It is `sure` when its owner has looked again after taking it. */
interface Place {
  readonly number: number;
  readonly level: ScriptIsolation['level'];
  readonly key: ScriptKey;
  readonly sure: boolean;
}

/** May the script run now, or whom does it wait for. */
export type Turn = { readonly runs: true } | { readonly runs: false; readonly waitsFor: ScriptKey };

const NUMBER = /^[0-9]{12}$/;
const MAX_PLACE_BYTES = 4096;
const MAX_ATTEMPTS = 200;

/**
 * The line in front of one isolation name, kept on the volume: FIFO, over restarts and agents (invariant 10).
 *
 *   isolation/<name>/<number>              who stands there; made exclusively
 *   isolation/<name>/<number>.<key>.sure   ... and has seen everybody in front
 *
 * Who enters takes the number behind the last one and looks again. Where a higher number is there by then, its owner
 * may have looked before and not seen this one, so the place is given up and another taken; else it is sure. Hence
 * of any two sure places the later one has seen the earlier one, and waits for it, however late a write arrives.
 * The place of a script that is over counts for nothing, so an agent that dies before leaving blocks nobody.
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
      if (!(await this.#isOver(place.key))) return { runs: false, waitsFor: place.key };
      await this.#giveUp(place);
    }
    return { runs: true };
  }

  /** Gives up every place of `key`; nothing happens where it has none. */
  async leave(key: ScriptKey): Promise<void> {
    for (const place of await this.#places()) if (place.key === key) await this.#giveUp(place);
  }

  async #enter(key: ScriptKey, level: ScriptIsolation['level']): Promise<number> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const line = await this.#places();
      const own = line.find((place) => place.key === key && place.sure);
      if (own) return own.number;
      for (const unsure of line) if (unsure.key === key) await this.#giveUp(unsure);
      const number = (line.at(-1)?.number ?? 0) + 1;
      if (await this.#take({ number, level, key, sure: false })) return number;
    }
    throw new Fault(
      'STORAGE_BUSY',
      `no place in the line ${this.#layout.root} after ${MAX_ATTEMPTS} attempts`,
    );
  }

  async #take(place: Place): Promise<boolean> {
    await this.#volume.makeFolder(this.#layout.root);
    const { number, level, key } = place;
    if (
      !(await writeOnce(
        this.#volume,
        this.#layout.place(number),
        Buffer.from(JSON.stringify({ level, key })),
      ))
    )
      return false;
    const last = (await this.#places()).at(-1)?.number ?? 0;
    if (last > number) {
      await this.#giveUp(place);
      return false;
    }
    await (await this.#volume.create(this.#layout.sure(number, key)))?.close();
    return true;
  }

  /** First the mark, then the place: a mark without a place must not make a later owner of the number sure. */
  async #giveUp(place: Place): Promise<void> {
    await this.#volume.remove(this.#layout.sure(place.number, place.key));
    await this.#volume.removeTree(this.#layout.place(place.number));
  }

  async #places(): Promise<Place[]> {
    const names = ((await this.#volume.list(this.#layout.root)) ?? []).map(({ name }) => name).sort();
    const marks = new Set(names);
    const places: Place[] = [];
    for (const number of names.filter((name) => NUMBER.test(name)).map(Number)) {
      const bytes = await readOnce(this.#volume, this.#layout.place(number), MAX_PLACE_BYTES);
      const stands = bytes && parsePlace(bytes);
      if (stands) places.push({ ...stands, number, sure: marks.has(sureName(number, stands.key)) });
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
