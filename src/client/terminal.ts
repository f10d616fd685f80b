import { once } from 'node:events';
import type { JournalLine } from '../protocol/script-status.ts';

/** Where a command writes: what belongs to the script on one side, what is about it on the other. */
export interface Terminal {
  readonly out: NodeJS.WritableStream;
  readonly err: NodeJS.WritableStream;
  /** Colours and a progress bar make sense. */
  readonly isInteractive: boolean;
}

const DIM = '\u001b[2m';
const PLAIN = '\u001b[22m';

/**
 * Writes a line of a script to the stream that it came from; lines of agent and pod go to stderr, marked.
 *
 * Returns when the stream takes more, so that a slow reader of a long journal does not fill memory.
 */
export async function showLine(terminal: Terminal, line: JournalLine): Promise<void> {
  const bytes = line.base64 === undefined ? Buffer.from(line.text) : Buffer.from(line.base64, 'base64');
  if (line.stream === 'stdout' || line.stream === 'stderr') {
    const target = line.stream === 'stdout' ? terminal.out : terminal.err;
    return write(target, line.partial ? bytes : Buffer.concat([bytes, Buffer.from('\n')]));
  }
  say(terminal, `[${line.stream}] ${line.text}`);
}

/** Writes for machines: a value as a line of JSON. */
export async function showJson(terminal: Terminal, value: unknown): Promise<void> {
  return write(terminal.out, `${JSON.stringify(value)}\n`);
}

async function write(target: NodeJS.WritableStream, bytes: Uint8Array | string): Promise<void> {
  if (!target.write(bytes)) await once(target, 'drain');
}

/** Tells the person something about what happens. */
export function say(terminal: Terminal, text: string): void {
  terminal.err.write(terminal.isInteractive ? `${DIM}${text}${PLAIN}\n` : `${text}\n`);
}
