import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { reprDigestFor, type Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import type { ScriptRequest } from '../protocol/script-request.ts';
import type { JournalLine, Outcome, ScriptStatus } from '../protocol/script-status.ts';
import type { ScriptState } from '../protocol/script-state.ts';
import { drain, exchange, jsonOf, type Call, type Reply } from './exchange.ts';
import { retrying } from './retry.ts';

export { Fault } from '../protocol/fault.ts';
export type { ScriptRequest } from '../protocol/script-request.ts';
export type { JournalLine, Outcome, ScriptStatus } from '../protocol/script-status.ts';

export interface ClientOptions {
  /** Where the agent listens, `http://host:port`. */
  readonly url: string;
  readonly token: string;
  /** A call without an answer after this long is given up. @default 30000 */
  readonly timeoutMs?: number;
  /** How long idempotent calls are repeated while the agent is away or says `later`. @default 120000 */
  readonly retryForMs?: number;
}

/** What to push: its digest is known before, so that bytes that are there already are not sent. */
export interface Push {
  readonly id: string;
  readonly version: string;
  /** Its extension becomes that of the package's file. */
  readonly fileName: string;
  readonly digest: Sha256;
  readonly size: number;
  /** Opens the bytes anew; called once for every attempt. */
  readonly open: () => Readable;
}

export type Pushed = 'created' | 'same' | 'there-already';

/** What happens to a script that is followed, in order, each once. */
export type ScriptNews =
  | { readonly type: 'line'; readonly line: JournalLine }
  | { readonly type: 'state'; readonly state: ScriptState }
  | { readonly type: 'outcome'; readonly outcome: Outcome };

const LONG_POLL_SECONDS = 25;

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
  readonly #connections: HttpAgent;

  constructor({ url, token, timeoutMs = 30_000, retryForMs = 120_000 }: ClientOptions) {
    this.#base = new URL(url);
    this.#token = token;
    this.#timeoutMs = timeoutMs;
    this.#retryForMs = retryForMs;
    this.#connections = new (this.#base.protocol === 'https:' ? HttpsAgent : HttpAgent)({ keepAlive: true });
  }

  /** Makes sure that the agent has a package; sends nothing where it has it. */
  async push(push: Push, signal?: AbortSignal): Promise<Pushed> {
    const path = `/v1/packages/${encodeURIComponent(push.id)}/${encodeURIComponent(push.version)}`;
    const reprDigest = reprDigestFor(push.digest);
    return this.#retrying(signal, async () => {
      const known = await this.#digestOf(path, signal);
      if (known === reprDigest) return 'there-already';
      const body = push.open();
      const reply = await this.#call('PUT', `${path}?filename=${encodeURIComponent(push.fileName)}`, {
        body,
        headers: {
          'content-type': 'application/octet-stream',
          'content-length': String(push.size),
          'repr-digest': reprDigest,
        },
        // A large body takes as long as it takes; the agent ends one that stalls.
        timeoutMs: undefined,
        signal,
      });
      drain(reply);
      return reply.status === 201 ? 'created' : 'same';
    });
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
    const path = `${scriptPath(ticket)}?after=${encodeURIComponent(after)}&wait=${waitSeconds}`;
    return this.#status('GET', path, { signal, timeoutMs: this.#timeoutMs + waitSeconds * 1000 });
  }

  /** Follows a script to its outcome, through restarts of the agent: nothing is lost, nothing comes twice. */
  async *follow(ticket: string, after = 's0.a0', signal?: AbortSignal): AsyncGenerator<ScriptNews> {
    let cursor = after;
    let state: ScriptState | undefined;
    for (;;) {
      const status = await this.status(ticket, {
        after: cursor,
        waitSeconds: LONG_POLL_SECONDS,
        ...(signal && { signal }),
      });
      if (status.state !== state) yield { type: 'state', state: status.state };
      state = status.state;
      for (const line of status.journal.lines) yield { type: 'line', line };
      cursor = status.journal.next;
      if (status.outcome && !status.journal.more) {
        yield { type: 'outcome', outcome: status.outcome };
        return;
      }
    }
  }

  async cancel(ticket: string, signal?: AbortSignal): Promise<ScriptStatus> {
    return this.#status('POST', `${scriptPath(ticket)}/cancel`, { signal });
  }

  /** Removes what a finished script left; its ticket never runs again. */
  async complete(ticket: string, signal?: AbortSignal): Promise<void> {
    await this.#retrying(signal, async () =>
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
    const reply = await this.#retrying(signal, () =>
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

  async #digestOf(path: string, signal: AbortSignal | undefined): Promise<string | undefined> {
    try {
      const reply = await this.#call('HEAD', path, { signal });
      drain(reply);
      return String(reply.headers['repr-digest'] ?? '');
    } catch (error) {
      if (error instanceof Fault && error.code === 'PACKAGE_UNKNOWN') return undefined;
      throw error;
    }
  }

  async #status(method: Call['method'], path: string, call: CallOptions): Promise<ScriptStatus> {
    // The agent answers by its schema, which test/api holds it to.
    return (await this.#json(method, path, call)) as ScriptStatus;
  }

  async #json(method: Call['method'], path: string, call: CallOptions): Promise<unknown> {
    return this.#retrying(call.signal, async () => jsonOf(await this.#call(method, path, call)));
  }

  async #retrying<T>(signal: AbortSignal | undefined, call: () => Promise<T>): Promise<T> {
    return retrying({ forMs: this.#retryForMs, signal: signal ?? new AbortController().signal }, call);
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

interface CallOptions {
  readonly body?: string | Readable;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

function scriptPath(ticket: string): string {
  return `/v1/scripts/${encodeURIComponent(ticket)}`;
}
