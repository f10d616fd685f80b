import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { AddressSeen, ServerSeen } from '../protocol/mount-evidence.ts';
import { nfsServerOf, type MountFacts } from './mount-info.ts';
import { askServer } from './nfs-server.ts';

export interface ServerLookOptions {
  /** Names this agent to the server; random, since equal names replace each other there. */
  readonly owner: string;
  readonly deadlineMs: number;
  readonly now: () => number;
}

/**
 * Looks at the server of a mount without touching the mount: whether it answers, and where its name points now.
 *
 * Nothing for file systems other than NFS. Never rejects; takes at most the deadline.
 */
export class ServerLook {
  readonly #options: ServerLookOptions;
  /** A lookup cannot be cancelled and holds a thread: while one is under way, there is no second. */
  #lookup: Promise<readonly string[]> | undefined;

  constructor(options: ServerLookOptions) {
    this.#options = options;
  }

  async look(
    mount: MountFacts | undefined,
    signal: AbortSignal,
  ): Promise<readonly (ServerSeen | AddressSeen)[]> {
    const server = mount && nfsServerOf(mount);
    if (server === undefined || isIP(server.address) === 0) return [];
    const { owner, deadlineMs, now } = this.#options;
    const [answer, resolved] = await Promise.all([
      askServer({ address: server.address, port: server.port, owner, deadlineMs, signal }).catch(
        () => undefined,
      ),
      this.#resolved(server.name, deadlineMs),
    ]);
    const seen: (ServerSeen | AddressSeen)[] = [];
    // Rejected only where the look was broken off, and then nobody wants to know.
    if (answer) seen.push({ kind: 'server', atMs: now(), address: server.address, answer });
    if (resolved) {
      const { name, address: mounted } = server;
      seen.push({ kind: 'address', atMs: now(), name, mounted, resolved });
    }
    return seen;
  }

  /** Addresses of a name, none where it has none; undefined for a bare address, and without an answer in time. */
  async #resolved(name: string, deadlineMs: number): Promise<readonly string[] | undefined> {
    if (isIP(name) !== 0) return undefined;
    this.#lookup ??= lookup(name, { all: true })
      .then(
        (found) => found.map(({ address }) => address),
        () => [],
      )
      .finally(() => (this.#lookup = undefined));
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(resolve, deadlineMs, undefined);
    try {
      return await Promise.race([this.#lookup, promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}
