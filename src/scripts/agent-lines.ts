import { readOnce, writeOnce } from '../staging/atomic-file.ts';
import type { Volume } from '../mount/volume.ts';
import type { JournalLine } from '../protocol/script-status.ts';
import type { ScriptKey } from '../protocol/ticket.ts';
import type { Asked } from './ticket-record.ts';

/** A sentence of the agent, or a line that came from the pod and not from the script. */
export interface AgentLine {
  readonly at: string;
  readonly stream: 'agent' | 'pod';
  readonly text: string;
  /** Two lines with one mark are the same line: whoever says it again, after a kill or on another agent, is ignored. */
  readonly mark: string;
}

/** Line 1 is not stored: it follows from what was asked. */
export const FIRST_STORED = 2;
const MAX_LINE_BYTES = 64 * 1024;
const MAX_LINES = 2000;

/**
 * The agent's own lines in the journals of scripts: numbered, each in a file of its own, written once.
 *
 * So they survive the agent, come again after a lost response, and never twice (invariant 5).
 */
export class AgentLines {
  readonly #volume: Volume;
  readonly #now: () => Date;
  /** The lines of scripts that are followed, as they were last seen. */
  readonly #seen = new Map<ScriptKey, readonly AgentLine[]>();

  constructor(volume: Volume, now: () => Date) {
    this.#volume = volume;
    this.#now = now;
  }

  /** Remembers from now on what is read of a script, for a time when the volume does not answer. */
  remember(key: ScriptKey): void {
    this.#seen.set(key, this.#seen.get(key) ?? []);
  }

  /** The lines of a script that is remembered, as they were last seen, the first with number 2. */
  remembered(key: ScriptKey): readonly AgentLine[] {
    return this.#seen.get(key) ?? [];
  }

  drop(key: ScriptKey): void {
    this.#seen.delete(key);
  }

  /** Adds a line unless one with its mark is there; durable on return. Beyond 2000 lines nothing is added. */
  async add(key: ScriptKey, line: Omit<AgentLine, 'at'>): Promise<void> {
    const stored = await this.#stored(key, FIRST_STORED);
    if (stored.length >= MAX_LINES || stored.some(({ mark }) => mark === line.mark)) return;
    const bytes = Buffer.from(JSON.stringify({ at: this.#now().toISOString(), ...line } satisfies AgentLine));
    const layout = this.#volume.layout.ticket(key);
    // Another agent may take a number first; then its line may be this one, so look again.
    if (!(await writeOnce(this.#volume, layout.line(FIRST_STORED + stored.length), bytes)))
      await this.add(key, line);
    else await this.#stored(key, FIRST_STORED);
  }

  /** The agent's lines with numbers above `after`, in their order. */
  async after(asked: Asked, after: number): Promise<JournalLine[]> {
    const first = Math.max(FIRST_STORED, after + 1);
    return linesFor(asked, { stored: await this.#stored(asked.key, first), first }, after);
  }

  async #stored(key: ScriptKey, from: number): Promise<AgentLine[]> {
    const layout = this.#volume.layout.ticket(key);
    const names = new Set((await this.#volume.list(layout.lines))?.map(({ name }) => Number(name)) ?? []);
    const lines: AgentLine[] = [];
    // Numbers are given without holes, so the first one that is not there is the end.
    for (let number = from; names.has(number); number += 1) {
      const bytes = await readOnce(this.#volume, layout.line(number), MAX_LINE_BYTES * 2);
      if (bytes === undefined) break;
      // writeOnce never shows half a file, and only agents write here.
      lines.push(JSON.parse(bytes.toString('utf8')) as AgentLine);
    }
    this.#see(key, from, lines);
    return lines;
  }

  #see(key: ScriptKey, from: number, lines: readonly AgentLine[]): void {
    const seen = this.#seen.get(key);
    if (seen === undefined || from - FIRST_STORED > seen.length) return;
    const all = [...seen.slice(0, from - FIRST_STORED), ...lines];
    if (all.length > seen.length) this.#seen.set(key, all);
  }
}

/** The lines of a script as a client gets them, `stored` from number `first` on, those with numbers above `after`. */
export function linesFor(
  asked: Asked,
  { stored, first }: { readonly stored: readonly AgentLine[]; readonly first: number },
  after: number,
): JournalLine[] {
  const lines = stored.map((line, index) => lineFor(first + index, line));
  const all = [lineFor(1, publishedLine(asked)), ...lines];
  return all.filter(({ seq }) => seq > after);
}

function publishedLine(asked: Asked): AgentLine {
  const { files, bytes, askedAt } = asked;
  const text = `published: ${files} ${files === 1 ? 'file' : 'files'}, ${bytes} bytes, verified and durable on the volume`;
  return { at: askedAt, stream: 'agent', text, mark: 'published' };
}

function lineFor(seq: number, { at, stream, text }: AgentLine): JournalLine {
  return { id: `a${seq}`, seq, at, stream, text };
}
