import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { AgentView, ApiEvent, ApiLimits, ApiOptions } from '../../src/api/agent-view.ts';
import { buildApp } from '../../src/api/app.ts';
import { TokenStore } from '../../src/api/tokens.ts';
import { parseMountInfo } from '../../src/mount/mount-info.ts';
import type { MountView } from '../../src/mount/mount-watch.ts';
import type { Volume } from '../../src/mount/volume.ts';
import { cursorText } from '../../src/protocol/cursor.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { openCase } from '../../src/protocol/mount-verdict.ts';
import type { ScriptRequest } from '../../src/protocol/script-request.ts';
import type { JournalLine, Outcome, ScriptStatus } from '../../src/protocol/script-status.ts';
import type { ScriptState } from '../../src/protocol/script-state.ts';
import type { Ticket } from '../../src/protocol/ticket.ts';
import type { StatusQuery } from '../../src/scripts/script-book.ts';
import { BlobStore } from '../../src/staging/blob-store.ts';
import { PackageStore } from '../../src/staging/package-store.ts';
import { temporaryVolume } from '../harness/temporary-volume.ts';

export const TOKEN = 'token-of-the-default-server';
export const OTHER_TOKEN = 'token-of-another-server';

interface MadeScript {
  readonly request: ScriptRequest;
  state: ScriptState;
  outcome: Outcome | null;
  readonly lines: JournalLine[];
  readonly artifacts: Map<string, Buffer>;
}

export function outcomeOf(code: Outcome['code'] = 'SUCCEEDED'): Outcome {
  const at = '2026-01-01T00:00:00.000Z';
  const facts = { category: 'script', exitCode: 0, signal: null, retry: 'never', evidence: {} } as const;
  return { ...facts, code, says: 'the script ended', startedAt: at, endedAt: at };
}

/** Scripts in memory, which do what a test tells them. */
export class MadeScripts {
  readonly scripts = new Map<string, MadeScript>();
  readonly openFiles = new Set<string>();
  calls: string[] = [];
  trouble: Error | undefined;
  #news = Promise.withResolvers<undefined>();

  start(server: string, ticket: Ticket, request: ScriptRequest): Promise<void> {
    return this.#call('start', () => {
      const key = `${server}/${ticket}`;
      const before = this.scripts.get(key);
      if (before && JSON.stringify(before.request) !== JSON.stringify(request))
        throw new Fault('TICKET_CONFLICT', `${ticket} was started before with another body`);
      if (!before)
        this.scripts.set(key, {
          request,
          state: 'published',
          outcome: null,
          lines: [],
          artifacts: new Map(),
        });
    });
  }

  async status(
    server: string,
    ticket: Ticket,
    { after, waitMs, signal }: StatusQuery,
  ): Promise<ScriptStatus> {
    const status = await this.#call('status', () => this.#page(server, ticket, after));
    if (waitMs === 0 || signal.aborted || status.journal.lines.length > 0 || status.outcome) return status;
    const over = new Promise((resolve) => {
      const timer = setTimeout(resolve, waitMs);
      signal.addEventListener('abort', () => (clearTimeout(timer), resolve(undefined)), { once: true });
    });
    await Promise.race([this.#news.promise, over]);
    if (signal.aborted) this.calls.push('status ended');
    return this.#call('status', () => this.#page(server, ticket, after));
  }

  cancel(server: string, ticket: Ticket): Promise<void> {
    return this.#call('cancel', () => this.finish(ticket, 'SCRIPT_CANCELLED', server));
  }

  complete(server: string, ticket: Ticket): Promise<void> {
    return this.#call('complete', () => {
      const { outcome } = this.#of(server, ticket);
      if (!outcome) throw new Fault('SCRIPT_UNFINISHED', `${ticket} is running`);
      this.scripts.delete(`${server}/${ticket}`);
    });
  }

  artifacts(server: string, ticket: Ticket): Promise<{ name: string; size: number }[]> {
    return this.#call('artifacts', () =>
      [...this.#of(server, ticket).artifacts].map(([name, bytes]) => ({ name, size: bytes.length })),
    );
  }

  openArtifact(
    server: string,
    ticket: Ticket,
    name: string,
  ): ReturnType<AgentView['scripts']['openArtifact']> {
    return this.#call('openArtifact', () => {
      const bytes = this.#of(server, ticket).artifacts.get(name);
      if (bytes === undefined) throw new Fault('ARTIFACT_UNKNOWN', `there is no ${name}`);
      this.openFiles.add(name);
      const file = {
        readAt: (position: number, length: number) =>
          Promise.resolve(bytes.subarray(position, position + length)),
        close: () => Promise.resolve(void this.openFiles.delete(name)),
      };
      // As much of a file as the interface reads of it.
      return { size: name === 'torn' ? bytes.length + 1 : bytes.length, file } as never;
    });
  }

  /** Gives a script of the default server a line. */
  write(ticket: string, text: string, stream: JournalLine['stream'] = 'stdout'): void {
    const { lines } = this.#of('default', ticket);
    const mark = stream === 'agent' ? 'a' : 's';
    const seq = lines.filter(({ id }) => id.startsWith(mark)).length + 1;
    lines.push({ id: `${mark}${seq}`, seq, at: '2026-01-01T00:00:00.000Z', stream, text });
    this.#tell();
  }

  move(ticket: string, state: ScriptState): void {
    this.#of('default', ticket).state = state;
    this.#tell();
  }

  finish(ticket: string, code: Outcome['code'] = 'SUCCEEDED', server = 'default'): void {
    Object.assign(this.#of(server, ticket), { state: 'finished', outcome: outcomeOf(code) });
    this.#tell();
  }

  #tell(): void {
    this.#news.resolve(undefined);
    this.#news = Promise.withResolvers<undefined>();
  }

  async #call<T>(name: string, work: () => T): Promise<T> {
    this.calls.push(name);
    if (this.trouble) throw this.trouble;
    return work();
  }

  #of(server: string, ticket: string): MadeScript {
    const script = this.scripts.get(`${server}/${ticket}`);
    if (!script) throw new Fault('TICKET_UNKNOWN', `there is no script ${ticket}`, { detail: { ticket } });
    return script;
  }

  #page(server: string, ticket: Ticket, after: StatusQuery['after']): ScriptStatus {
    const { state, outcome, lines, request } = this.#of(server, ticket);
    const fresh = lines.filter(({ id, seq }) => seq > (id.startsWith('a') ? after.agent : after.script));
    const last = (mark: string, otherwise: number): number =>
      fresh.findLast(({ id }) => id.startsWith(mark))?.seq ?? otherwise;
    const next = cursorText({ script: last('s', after.script), agent: last('a', after.agent) });
    return {
      ticket,
      state,
      outcome,
      labels: request.labels ?? {},
      journal: { next, more: false, lines: fresh },
    };
  }
}

export const LIMITS: ApiLimits = {
  scriptBodyMaxBytes: 4 * 2 ** 20,
  maxDeadlineSeconds: 604_800,
  maxWaitSeconds: 60,
  maxConnections: 100,
  uploadMaxBytes: 8 * 2 ** 20,
  maxUploads: 3,
  maxScripts: 500,
  uploadStallMs: 500,
};

export interface MadeApp {
  readonly app: FastifyInstance;
  readonly scripts: MadeScripts;
  readonly volume: Volume;
  readonly events: ApiEvent[];
  readonly stopping: AbortController;
  readonly blobs: BlobStore;
  /** Listens, and returns http://host:port. */
  readonly listen: () => Promise<string>;
}

/** A volume that is trusted, on an NFS mount. */
export function madeMount(given: Partial<MountView> = {}): MountView {
  const line = '1 2 0:3 / /srv/volume rw - nfs4 nfs.example:/ rw,hard,addr=10.0.0.1';
  return {
    belief: openCase({ atMs: 1000, epoch: 'e' }).belief,
    epoch: 'e',
    evidence: [{ kind: 'probe', atMs: 3000, root: { is: 'ok' }, epoch: { is: 'read', epoch: 'e' } }],
    nowMs: 5000,
    limits: {
      ...{ probeIntervalMs: 5000, probeDeadlineMs: 5000, staleAfterMs: 30_000 },
      ...{ absentAgainMs: 5000, stallLimitMs: 90_000 },
    },
    mount: parseMountInfo(line)[0],
    leaked: new Map([['canary', 1]]),
    ...given,
  };
}

/** An app on real stores and made scripts. */
export async function madeApp(
  t: { teardown: (work: () => unknown) => void },
  given: Partial<ApiOptions> = {},
): Promise<MadeApp> {
  const volume = await temporaryVolume(t);
  const blobs = new BlobStore(volume, {
    maxBytes: LIMITS.uploadMaxBytes,
    memoryBytes: 2 ** 22,
    minBytesPerSecond: 1000,
    rateWindowMs: 500,
    reserveBytes: 0,
    maxUploads: LIMITS.maxUploads,
    unknownLengthBytes: 1024,
  });
  const scripts = new MadeScripts();
  const view: AgentView = { scripts, packages: new PackageStore(volume, blobs), blobs };
  const tokens = new TokenStore(`default:${TOKEN}\nother:${OTHER_TOKEN}\n`);
  const events: ApiEvent[] = [];
  const stopping = new AbortController();
  const app = buildApp({
    agent: () => view,
    serverOf: (token) => tokens.serverOf(token),
    limits: LIMITS,
    readiness: () => ({ ready: true, says: 'ready' }),
    stopping: stopping.signal,
    mount: () => madeMount(),
    version: '1.2.3',
    observe: (event) => events.push(event),
    ...given,
  });
  t.teardown(() => app.close());
  const listen = async (): Promise<string> => {
    await app.listen({ host: '127.0.0.1', port: 0 });
    // An address of TCP is an object.
    return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  };
  return { app, scripts, volume, events, stopping, blobs, listen };
}

/** The answer to a call with the token of the default server. */
export async function call(
  app: FastifyInstance,
  method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE',
  url: string,
  options: { body?: unknown; headers?: Record<string, string> } = {},
): Promise<{
  status: number;
  headers: Record<string, unknown>;
  json: Record<string, unknown>;
  text: string;
}> {
  const { body, headers } = options;
  const raw = body instanceof Uint8Array || typeof body === 'string';
  const response = await app.inject({
    method,
    url,
    headers: {
      authorization: `Bearer ${TOKEN}`,
      ...(body !== undefined && !raw && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { payload: raw ? Buffer.from(body) : JSON.stringify(body) }),
  });
  const text = response.body;
  const json = text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {};
  return { status: response.statusCode, headers: response.headers, json, text };
}
