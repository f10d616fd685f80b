import type { Exchange } from './fake-api-server.ts';

interface LogEntry {
  readonly at: bigint;
  readonly text: string;
}

const NS = 1_000_000_000n;

/** The log of one container as API server and kubelet give it out: stamped, from a whole second on, followed or not. */
export class FakeLog {
  readonly entries: LogEntry[] = [];
  readonly readers = new Set<Exchange>();
  /** Nanoseconds since 1970; a test moves it. */
  now = 1_790_000_000n * NS;
  isOver = false;

  /** Writes lines, each a step after the one before. */
  write(texts: readonly string[], stepNs = 1000n): void {
    for (const text of texts) {
      this.now += stepNs;
      const entry = { at: this.now, text };
      this.entries.push(entry);
      for (const reader of this.readers) void reader.write(lineOf(entry));
    }
  }

  /** The node puts its older log file away and reads only the newer one. */
  rotate(keep: number): void {
    this.entries.splice(0, this.entries.length - keep);
  }

  /** The container ends: what is followed ends in good order. */
  finish(): void {
    this.isOver = true;
    for (const reader of this.readers) reader.end();
    this.readers.clear();
  }

  /** Does something to everybody who follows, and forgets about them. */
  disturb(how: (reader: Exchange) => void): void {
    const open = [...this.readers];
    this.readers.clear();
    open.forEach(how);
  }

  async answer(exchange: Exchange): Promise<void> {
    const { sinceTime, follow } = exchange.call.query;
    // The API server hands the time on in whole seconds.
    const since = sinceTime === undefined ? 0n : BigInt(Math.floor(Date.parse(sinceTime) / 1000)) * NS;
    exchange.begin();
    const known = this.entries.filter(({ at }) => at >= since);
    void exchange.write(known.map(lineOf).join(''));
    if (follow === undefined || this.isOver) return exchange.end();
    this.readers.add(exchange);
    exchange.onClose(() => this.readers.delete(exchange));
  }
}

function lineOf({ at, text }: LogEntry): string {
  return `${stampOf(at)} ${text}\n`;
}

/** An instant as a kubelet writes it. */
export function stampOf(at: bigint): string {
  const seconds = new Date(Number(at / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${String(at % NS).padStart(9, '0')}Z`;
}
