import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { reprDigestFor, type Sha256 } from '../protocol/digest.ts';
import { FAILURES } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';
import type { ScriptRequest } from '../protocol/script-request.ts';
import type { JournalLine, Outcome, ScriptStatus } from '../protocol/script-status.ts';
import type { ScriptState } from '../protocol/script-state.ts';
import { drain, exchange, jsonOf, type Call, type Reply } from './exchange.ts';
import { retrying } from './retry.ts';

export { parseSha256, sha256Of, type Sha256 } from '../protocol/digest.ts';
export { Fault } from '../protocol/fault.ts';
export type { ScriptRequest } from '../protocol/script-request.ts';
export type { JournalLine, Outcome, ScriptStatus } from '../protocol/script-status.ts';

export interface ClientOptions {
  /** Where the agent listens, `http://host:port`. */
  readonly url: string;
  readonly token: string;
  /** A call without an answer after this long is given up. @default 30000 */
  readonly timeoutMs?: number;
  /** How long a call is repeated while the agent is away or says "not now". @default 120000 */
  readonly retryForMs?: number;
  /** The same while a script is followed, which outlives its agent. @default 600000 */
  readonly followForMs?: number;
  /** Told before a call is tried again. */
  readonly retried?: (fault: Fault, pauseMs: number) => void;
}

/** Bytes to push: their digest is known before, so that those that are there already are not sent. */
export interface BlobPush {
  readonly digest: Sha256;
  readonly size: number;
  /** Opens the bytes anew; called once for every attempt. */
  readonly open: () => Readable;
}

export interface PackagePush extends BlobPush {
  readonly id: string;
  readonly version: string;
  /** Its extension becomes that of the package's file. */
  readonly fileName: string;
}

export type Pushed = 'created' | 'same' | 'there-already';

/** What happens to a script that is followed, in order, each once. */
export type ScriptNews =
  | { readonly type: 'line'; readonly line: JournalLine }
  | { readonly type: 'state'; readonly state: ScriptState }
  | { readonly type: 'outcome'; readonly outcome: Outcome };

const LONG_POLL_SECONDS = 25;
/** Between two looks at an agent that does not wait, because it may not or because it stops. */
const SHORTEST_LOOK_MS = 250;

/**
 * Talks to one agent. Every call may be repeated, and is, while the agent is away: nothing is done twice by it.
 *
 * @throws {Fault} from every call, with the agent's code, or AGENT_UNREACHABLE.
 */
export class LongshoreClient {
  readonly #base: URL;
  readonly #token: string;
  readonly #timeoutMs: number;
  readonly #retryForMs: number;
  readonly #followForMs: number;
  readonly #retried: ClientOptions['retried'];
  readonly #connections: HttpAgent;

  /** @throws {TypeError} for a `url` that is none. */
  constructor(options: ClientOptions) {
    const { url, token, timeoutMs = 30_000, retryForMs = 120_000, followForMs = 600_000, retried } = options;
    this.#base = new URL(url);
    this.#token = token;
    this.#timeoutMs = timeoutMs;
    this.#retryForMs = retryForMs;
    this.#followForMs = followForMs;
    this.#retried = retried;
    this.#connections = new (this.#base.protocol === 'https:' ? HttpsAgent : HttpAgent)({ keepAlive: true });
  }

  /** Makes sure that the agent has a package; sends nothing where it has it. */
  async push(push: PackagePush, signal?: AbortSignal): Promise<Pushed> {
    const path = `/v1/packages/${encodeURIComponent(push.id)}/${encodeURIComponent(push.version)}`;
    return this.#upload(path, `?filename=${encodeURIComponent(push.fileName)}`, { ...push, signal });
  }

  /** Makes sure that the agent has bytes that a script names by their digest; sends nothing where it has them. */
  async pushBlob(push: BlobPush, signal?: AbortSignal): Promise<Pushed> {
    return this.#upload(`/v1/blobs/sha256/${push.digest}`, '', { ...push, signal });
  }

  /** Starts a script, or finds it started with the same body. */
  async start(ticket: string, request: ScriptRequest, signal?: AbortSignal): Promise<ScriptStatus> {
    return this.#status('PUT', scriptPath(ticket), { body: JSON.stringify(request), signal });
  }

  /** Tells state, outcome and the lines after `after`; waits up to `waitSeconds` for something new. */
  async status(
    ticket: string,
    query: { after?: string; waitSeconds?: number; signal?: AbortSignal } = {},
  ): Promise<ScriptStatus> {
    const { after = 's0.a0', waitSeconds = 0, signal } = query;
    return this.#look(ticket, { after, waitSeconds, signal });
  }

  /**
   * Follows a script to its outcome, through restarts of the agent: nothing is lost, nothing comes twice.
   *
   * @throws {Fault} AGENT_UNREACHABLE when the agent is away for longer than `followForMs`, or `signal` aborts.
   */
  async *follow(ticket: string, after = 's0.a0', signal?: AbortSignal): AsyncGenerator<ScriptNews> {
    const waitSeconds = await this.#longestWait(signal);
    const call = { signal, retryForMs: this.#followForMs };
    let cursor = after;
    let state: ScriptState | undefined;
    for (;;) {
      const lookedAt = performance.now();
      const status = await this.#look(ticket, { after: cursor, waitSeconds, ...call });
      const news = status.state !== state || status.journal.lines.length > 0;
      if (status.state !== state) yield { type: 'state', state: status.state };
      state = status.state;
      for (const line of status.journal.lines) yield { type: 'line', line };
      cursor = status.journal.next;
      if (status.outcome && !status.journal.more) {
        yield { type: 'outcome', outcome: status.outcome };
        return;
      }
      const restMs = SHORTEST_LOOK_MS - (performance.now() - lookedAt);
      // Aborted while it rests: the next look fails at once and says so.
      if (!news && restMs > 0) await pause(restMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async cancel(ticket: string, signal?: AbortSignal): Promise<ScriptStatus> {
    return this.#status('POST', `${scriptPath(ticket)}/cancel`, { signal });
  }

  /** Removes what a finished script left; its ticket never runs again. */
  async complete(ticket: string, signal?: AbortSignal): Promise<void> {
    await this.#retrying({ signal }, async () =>
      drain(await this.#call('DELETE', scriptPath(ticket), { signal })),
    );
  }

  async artifacts(ticket: string, signal?: AbortSignal): Promise<readonly { name: string; size: number }[]> {
    const answer = await this.#json('GET', `${scriptPath(ticket)}/artifacts`, { signal });
    return (answer as { artifacts: { name: string; size: number }[] }).artifacts;
  }

  /** Opens what a script left under `name`; read it to its end. */
  async artifact(ticket: string, name: string, signal?: AbortSignal): Promise<IncomingMessage> {
    const path = name.split('/').map(encodeURIComponent).join('/');
    const reply = await this.#retrying({ signal }, () =>
      this.#call('GET', `${scriptPath(ticket)}/artifacts/${path}`, { signal, timeoutMs: undefined }),
    );
    return reply.body;
  }

  /** What this agent can do, its limits and versions. */
  async capabilities(signal?: AbortSignal): Promise<Readonly<Record<string, unknown>>> {
    return (await this.#json('GET', '/v1/capabilities', { signal })) as Record<string, unknown>;
  }

  /** Closes idle connections. */
  close(): void {
    this.#connections.destroy();
  }

  async #upload(
    path: string,
    query: string,
    { digest, size, open, signal }: BlobPush & { signal: AbortSignal | undefined },
  ): Promise<Pushed> {
    const reprDigest = reprDigestFor(digest);
    const headers = {
      'content-type': 'application/octet-stream',
      'content-length': String(size),
      'repr-digest': reprDigest,
    };
    return this.#retrying({ signal }, async () => {
      if ((await this.#digestOf(path, signal)) === reprDigest) return 'there-already';
      // A large body takes as long as it takes; the agent ends one that stalls.
      const call = { body: open(), headers, timeoutMs: undefined, signal };
      const reply = await this.#call('PUT', `${path}${query}`, call);
      drain(reply);
      return reply.status === 201 ? 'created' : 'same';
    });
  }

  async #digestOf(path: string, signal: AbortSignal | undefined): Promise<string | undefined> {
    try {
      const reply = await this.#call('HEAD', path, { signal });
      drain(reply);
      return String(reply.headers['repr-digest'] ?? '');
    } catch (error) {
      if (error instanceof Fault && FAILURES[error.code].status === 404) return undefined;
      throw error;
    }
  }

  async #look(ticket: string, { after, waitSeconds, ...call }: Look): Promise<ScriptStatus> {
    const path = `${scriptPath(ticket)}?after=${encodeURIComponent(after)}&wait=${waitSeconds}`;
    return this.#status('GET', path, { ...call, timeoutMs: this.#timeoutMs + waitSeconds * 1000 });
  }

  async #longestWait(signal: AbortSignal | undefined): Promise<number> {
    const { limits } = (await this.capabilities(signal)) as { limits?: { maxWaitSeconds?: unknown } };
    return Math.min(LONG_POLL_SECONDS, Number(limits?.maxWaitSeconds ?? 0));
  }

  async #status(method: Call['method'], path: string, call: CallOptions): Promise<ScriptStatus> {
    // The agent answers by its schema, which test/api holds it to.
    return (await this.#json(method, path, call)) as ScriptStatus;
  }

  async #json(method: Call['method'], path: string, call: CallOptions): Promise<unknown> {
    return this.#retrying(call, async () => jsonOf(await this.#call(method, path, call)));
  }

  async #retrying<T>(
    { signal, retryForMs = this.#retryForMs }: Pick<CallOptions, 'signal' | 'retryForMs'>,
    call: () => Promise<T>,
  ): Promise<T> {
    const rule = { forMs: retryForMs, signal: signal ?? new AbortController().signal, told: this.#retried };
    return retrying(rule, call);
  }

  async #call(method: Call['method'], path: string, options: CallOptions): Promise<Reply> {
    const { body, headers, signal } = options;
    const timeoutMs = 'timeoutMs' in options ? options.timeoutMs : this.#timeoutMs;
    const signals = [signal, timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs)];
    return exchange({
      method,
      url: new URL(path, this.#base),
      headers: {
        authorization: `Bearer ${this.#token}`,
        accept: 'application/json',
        ...(typeof body === 'string' && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body }),
      signal: AbortSignal.any(signals.filter((one) => one !== undefined)),
      connections: this.#connections,
    });
  }
}

interface Look extends CallOptions {
  readonly after: string;
  readonly waitSeconds: number;
}

interface CallOptions {
  readonly body?: string | Readable;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
  readonly retryForMs?: number;
}

function scriptPath(ticket: string): string {
  return `/v1/scripts/${encodeURIComponent(ticket)}`;
}
