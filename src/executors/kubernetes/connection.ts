import { setTimeout as pause } from 'node:timers/promises';
import { randomInt } from 'node:crypto';
import type { Dispatcher } from 'undici';
import type { ApiCall, ApiCaller, ApiEvent, ApiStream, ApiVerb, CallLimits } from './api-call.ts';
import { ApiRefusal, errorFor, isPassing, NoAnswer, refusalFor } from './api-error.ts';
import { CredentialCache, type CredentialSource } from './credentials.ts';
import { DeadlinePassed, withDeadline } from './deadline.ts';
import { Dispatchers } from './dispatchers.ts';
import { Kubeconfig } from './kubeconfig.ts';
import { assertPermitted } from './permissions.ts';
import { ServiceAccount } from './service-account.ts';

export interface ConnectionOptions {
  /** The file to use; without one the service account of the agent's pod is used. */
  readonly kubeconfig?: string | undefined;
  /** Of the kubeconfig. @default its current one */
  readonly context?: string | undefined;
  /** @default that of the context, or of the service account */
  readonly namespace?: string | undefined;
  /** Used with the service account. @default `https://kubernetes.default.svc` */
  readonly apiServer?: string | undefined;
  /** @default where a kubelet mounts it */
  readonly serviceAccountFolder?: string | undefined;
  /** For one call with all its attempts. */
  readonly requestDeadlineMs: number;
  readonly observe: (event: ApiEvent) => void;
}

const METHODS = {
  get: 'GET',
  list: 'GET',
  watch: 'GET',
  create: 'POST',
  patch: 'PATCH',
  delete: 'DELETE',
} as const satisfies Record<ApiVerb, string>;

/** A page of 500 pods is 5 MiB; an answer that is longer is none of ours. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const MAX_REFUSAL_BYTES = 64 * 1024;
const MAX_ATTEMPTS = 5;
const FIRST_PAUSE_MS = 100;

type Answer = Dispatcher.ResponseData;

/** The one way to the API server: every call has a deadline, is told to `observe`, and is in the list of permissions. */
export class KubeConnection implements ApiCaller {
  readonly namespace: string;
  readonly #server: URL;
  readonly #credentials: CredentialCache;
  readonly #dispatchers: Dispatchers;
  readonly #options: ConnectionOptions;
  #isClosed = false;

  private constructor(source: CredentialSource, options: ConnectionOptions) {
    this.namespace = options.namespace ?? source.namespace ?? 'default';
    this.#server = source.server;
    this.#credentials = new CredentialCache(source);
    this.#dispatchers = new Dispatchers(source.server.origin);
    this.#options = options;
  }

  /**
   * Reads the credentials; asks the API server nothing.
   *
   * @throws {Fault} CONFIG_INVALID when there are none, or none that can be used.
   */
  static async open(options: ConnectionOptions): Promise<KubeConnection> {
    const { kubeconfig, context, apiServer = 'https://kubernetes.default.svc' } = options;
    const source =
      kubeconfig === undefined
        ? await ServiceAccount.open(apiServer, options.serviceAccountFolder)
        : await Kubeconfig.open(kubeconfig, context);
    return new KubeConnection(source, options);
  }

  /**
   * Makes a call and returns the object of the answer.
   *
   * What passes by itself is tried again inside the deadline: no answer, 429, 5xx. So a call may be made twice although
   * it was answered once: a create may meet its own object (409), a delete its own absence (404).
   * @throws {ApiRefusal} the server's no, as it came.
   * @throws {Fault} CLUSTER_UNREACHABLE without an answer, CLUSTER_FORBIDDEN when the agent lacks the right. Other 403s,
   * of quotas and pod security, are refusals.
   * @throws {TypeError} when the call is not in the list of permissions.
   */
  async request<T>(call: ApiCall, limits: CallLimits = {}): Promise<T> {
    assertPermitted(call);
    const { deadlineMs = this.#options.requestDeadlineMs, signal } = limits;
    const until = performance.now() + deadlineMs;
    try {
      return await withDeadline({ deadlineMs, signal }, async (ending) =>
        this.#repeat(until, ending, async () => {
          const answer = await this.#answer(call, 'calls', ending);
          return (await jsonOf(answer)) as T;
        }),
      );
    } catch (error) {
      throw this.#errorFor(call, error);
    }
  }

  /**
   * Opens a watch or a log; returns with the head of the answer. It is tried once: who streams has pauses of his own.
   *
   * `signal` ends it at any time. An iteration that is left early ends it as well.
   * @throws as `request()` does.
   */
  async stream(
    call: ApiCall,
    { signal, connectDeadlineMs }: { readonly signal: AbortSignal; readonly connectDeadlineMs: number },
  ): Promise<ApiStream> {
    assertPermitted(call);
    const cutting = new AbortController();
    const cut = (): void => cutting.abort(signal.reason);
    signal.addEventListener('abort', cut);
    const release = (): void => signal.removeEventListener('abort', cut);
    try {
      const limits = { deadlineMs: connectDeadlineMs, signal };
      const answer = await withDeadline(limits, async (connecting) => {
        connecting.addEventListener('abort', () => cutting.abort(connecting.reason), { once: true });
        return this.#answer(call, 'streams', cutting.signal);
      });
      answer.body.once('close', release);
      return { status: answer.statusCode, body: answer.body };
    } catch (error) {
      release();
      throw this.#errorFor(call, error);
    }
  }

  /** Ends every call and stream; those that come later meet CLUSTER_UNREACHABLE. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#dispatchers.close();
  }

  #errorFor(call: ApiCall, error: unknown): unknown {
    const late = error instanceof DeadlinePassed;
    return errorFor(call, late ? new NoAnswer(error.message, error) : error);
  }

  async #repeat<T>(until: number, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    for (let pauseMs = FIRST_PAUSE_MS, attempts = 1; ; pauseMs *= 2, attempts += 1) {
      try {
        return await attempt();
      } catch (error) {
        const asked = (error instanceof ApiRefusal && error.retryAfterMs) || 0;
        const waitMs = Math.max(asked, pauseMs / 2 + randomInt(pauseMs));
        const left = until - performance.now();
        // The words of the last attempt say more than that the time is over.
        const isLast = attempts === MAX_ATTEMPTS || waitMs >= left || signal.aborted || this.#isClosed;
        if (isLast || !isPassing(error)) throw error;
        await pause(waitMs, undefined, { signal });
      }
    }
  }

  /** One exchange; a second one with credentials that are read anew, where the server does not know these. */
  async #answer(call: ApiCall, kind: 'calls' | 'streams', signal: AbortSignal): Promise<Answer> {
    try {
      return await this.#exchange(call, kind, signal);
    } catch (error) {
      const unknown = error instanceof ApiRefusal && error.status === 401;
      // The certificate of the server may have been exchanged as well, with its CA.
      if (unknown || error instanceof NoAnswer) this.#credentials.renew();
      if (!unknown) throw error;
      return this.#exchange(call, kind, signal);
    }
  }

  async #exchange(call: ApiCall, kind: 'calls' | 'streams', signal: AbortSignal): Promise<Answer> {
    const beganAt = performance.now();
    const tell = (code: number | 'timeout' | 'unreachable'): void =>
      this.#tell({
        type: 'request',
        verb: call.verb,
        resource: call.resource,
        code,
        seconds: (performance.now() - beganAt) / 1000,
      });
    const answer = await this.#send(call, kind, signal).catch((error: unknown) => {
      const late = signal.reason instanceof DeadlinePassed;
      // Whoever ends his call gets no answer, and that is no fault of the server.
      if (late || !signal.aborted) tell(late ? 'timeout' : 'unreachable');
      throw error;
    });
    tell(answer.statusCode);
    if (answer.statusCode < 300) return answer;
    const body = await textOf(answer, MAX_REFUSAL_BYTES);
    const retryAfter = answer.headers['retry-after'];
    throw refusalFor(answer.statusCode, body, typeof retryAfter === 'string' ? retryAfter : undefined);
  }

  async #send(call: ApiCall, kind: 'calls' | 'streams', signal: AbortSignal): Promise<Answer> {
    const { headers, tls } = await this.#credentials.current();
    const query = new URLSearchParams(call.query).toString();
    const prefix = this.#server.pathname.replace(/\/$/, '');
    try {
      return await this.#dispatchers.for(tls, kind).request({
        path: `${prefix}${call.path}${query && '?'}${query}`,
        method: METHODS[call.verb],
        headers: { ...headers, accept: 'application/json', 'user-agent': 'longshore', ...bodyHeaders(call) },
        body: call.body === undefined ? null : JSON.stringify(call.body),
        signal,
      });
    } catch (error) {
      signal.throwIfAborted();
      throw new NoAnswer('no answer', error);
    }
  }

  #tell(event: ApiEvent): void {
    this.#options.observe(event);
  }
}

function bodyHeaders({ verb, body, contentType }: ApiCall): Record<string, string> {
  if (body === undefined) return {};
  const usual = verb === 'patch' ? 'application/merge-patch+json' : 'application/json';
  return { 'content-type': contentType ?? usual };
}

async function jsonOf(answer: Answer): Promise<unknown> {
  const text = await textOf(answer, MAX_ANSWER_BYTES);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new NoAnswer('the answer is no JSON', error);
  }
}

async function textOf({ body }: Answer, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > maxBytes) throw new RangeError(`the answer has more than ${maxBytes} bytes`);
    }
  } catch (error) {
    throw new NoAnswer('the answer broke off', error);
  }
  return Buffer.concat(chunks).toString('utf8');
}
