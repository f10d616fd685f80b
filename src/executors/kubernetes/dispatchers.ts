import { Pool, type Dispatcher } from 'undici';
import type { TlsMaterial } from './credentials.ts';

/** Calls that are on their way at once; more wait for a connection, within their deadline. */
const MAX_CALLS = 32;
const CONNECT_TIMEOUT_MS = 10_000;
/** Shorter than the idle time of an API server (90 s) and of the balancers in front of one (60 s, most). */
const KEEP_ALIVE_MS = 45_000;
/** A peer that is gone without a word shows itself to the kernel's probes, also where nobody writes. */
const PROBE_AFTER_MS = 30_000;

interface Pair {
  readonly calls: Pool;
  readonly streams: Pool;
}

/**
 * The connections to the API server, for one set of certificates at a time.
 *
 * Calls and streams are apart: a stream keeps its connection for hours, and calls must not wait for one of theirs.
 */
export class Dispatchers {
  readonly #origin: string;
  #material = '';
  #pair: Pair | undefined;
  #isClosed = false;
  readonly #leaving = new Set<Pool>();

  constructor(origin: string) {
    this.#origin = origin;
  }

  /**
   * Returns the connections for `tls`. Streams on those for other certificates go on until they end by themselves.
   *
   * @throws {Error} after `close()`.
   */
  for(tls: TlsMaterial, kind: keyof Pair): Dispatcher {
    if (this.#isClosed) throw new Error('the connection to the API server is closed');
    const material = JSON.stringify(tls);
    if (this.#pair === undefined || material !== this.#material) {
      this.#leave();
      this.#material = material;
      this.#pair = { calls: this.#poolFor(tls, MAX_CALLS), streams: this.#poolFor(tls, null) };
    }
    return this.#pair[kind];
  }

  /** Ends all of them at once. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#leave();
    await Promise.allSettled([...this.#leaving].map((pool) => pool.destroy()));
  }

  #leave(): void {
    for (const pool of this.#pair ? [this.#pair.calls, this.#pair.streams] : []) {
      this.#leaving.add(pool);
      const gone = (): boolean => this.#leaving.delete(pool);
      pool.close().then(gone, gone);
    }
    this.#pair = undefined;
  }

  #poolFor(tls: TlsMaterial, connections: number | null): Pool {
    return new Pool(this.#origin, {
      connections,
      // Silence has limits of its own, in those who listen.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      // HTTP/2 would put all streams into one connection, which one slow reader can stop.
      allowH2: false,
      connect: {
        ...tls,
        timeout: CONNECT_TIMEOUT_MS,
        keepAlive: true,
        keepAliveInitialDelay: PROBE_AFTER_MS,
      },
    });
  }
}
