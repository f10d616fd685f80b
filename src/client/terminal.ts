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

/** Writes a line of a script to the stream that it came from; lines of agent and pod go to stderr, marked. */
export function showLine(terminal: Terminal, line: JournalLine): void {
  const bytes = line.base64 === undefined ? Buffer.from(line.text) : Buffer.from(line.base64, 'base64');
  if (line.stream === 'stdout' || line.stream === 'stderr') {
    const target = line.stream === 'stdout' ? terminal.out : terminal.err;
    target.write(line.partial ? bytes : Buffer.concat([bytes, Buffer.from('\n')]));
    return;
  }
  say(terminal, `[${line.stream}] ${line.text}`);
}

/** Tells the person something about what happens. */
export function say(terminal: Terminal, text: string): void {
  terminal.err.write(terminal.isInteractive ? `${DIM}${text}${PLAIN}\n` : `${text}\n`);
}
