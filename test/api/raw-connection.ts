import { connect, type Socket } from 'node:net';
import { eventually } from '../harness/eventually.ts';

/** A connection on which a test writes bytes as it likes, since clients in libraries are too well behaved. */
export class RawConnection {
  readonly socket: Socket;
  /** All that came, as latin1. */
  text = '';
  isClosed = false;

  constructor(t: { teardown: (work: () => void) => void }, url: string) {
    const { hostname, port } = new URL(url);
    this.socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    this.socket.on('data', (bytes) => (this.text += bytes.toString('latin1')));
    // A reset is one of the ways in which a connection ends.
    this.socket.on('error', () => undefined);
    this.socket.on('end', () => (this.isClosed = true));
    this.socket.on('close', () => (this.isClosed = true));
    t.teardown(() => this.socket.destroy());
  }

  /** Sends the head of a request. */
  head(line: string, headers: Readonly<Record<string, string | number>>): void {
    const lines = Object.entries({ Host: 'test', ...headers }).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    );
    this.socket.write(`${line} HTTP/1.1\r\n${lines.join('')}\r\n`);
  }

  async until(pattern: RegExp, deadlineMs?: number): Promise<RegExpExecArray> {
    await eventually(() => pattern.test(this.text) || this.isClosed, deadlineMs);
    const found = pattern.exec(this.text);
    if (found === null)
      throw new Error(`${String(pattern)} never came, but ${JSON.stringify(this.text.slice(0, 500))}`);
    return found;
  }

  async closed(deadlineMs?: number): Promise<void> {
    await eventually(() => this.isClosed, deadlineMs);
  }
}
