import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** Words of a fixed kind, one line of JSON each, over a TCP connection. Both ends are programs of ours. */
export class LineTalk<Theirs, Ours> {
  readonly #socket: Socket;
  readonly #heard: Theirs[] = [];
  #waiting: ((word: Theirs | Error) => void) | undefined;
  #end: Error | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('error', (error) => this.#ended(error));
    socket.on('close', () => this.#ended(new Error('the other pod hung up')));
    const lines = createInterface({ input: socket });
    lines.on('line', (line) => this.#take(line));
    // It repeats the errors of the socket, which are heard above.
    lines.on('error', () => undefined);
  }

  say(word: Ours): void {
    this.#socket.write(`${JSON.stringify(word)}\n`);
  }

  /** Waits for the next word. @throws {Error} when the connection ends, or nothing comes in time. */
  async hear(deadlineMs: number): Promise<Theirs> {
    const next = this.#heard.shift();
    if (next !== undefined) return next;
    if (this.#end) throw this.#end;
    const { promise, resolve } = Promise.withResolvers<Theirs | Error>();
    this.#waiting = resolve;
    const silent = new Error(`the other pod said nothing for ${deadlineMs} ms`);
    const timer = setTimeout(() => this.#tell(silent), deadlineMs);
    const word = await promise;
    clearTimeout(timer);
    if (word instanceof Error) throw word;
    return word;
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(line: string): void {
    let word: Theirs;
    try {
      // Both ends are the same program.
      word = JSON.parse(line) as Theirs;
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    if (!this.#tell(word)) this.#heard.push(word);
  }

  /** Tells whoever waits, once: the next word may come before he has gone on. */
  #tell(word: Theirs | Error): boolean {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(word);
    return waiting !== undefined;
  }

  #ended(error: Error): void {
    this.#end ??= error;
    this.#tell(this.#end);
  }
}
