/** One call of the API server. The verb is RBAC's, and decides the method of HTTP. */
export interface ApiCall {
  readonly verb: ApiVerb;
  /** As RBAC names it: `pods`, `pods/log`. */
  readonly resource: string;
  /** From pathFor(); without the query. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** @default `application/json`, for a patch `application/merge-patch+json` */
  readonly contentType?: string;
}

export type ApiVerb = 'get' | 'list' | 'watch' | 'create' | 'patch' | 'delete';

/** How long a call may take, and who may end it. */
export interface CallLimits {
  /** With all its attempts. @default the deadline of the connection */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

/** An answer that is still coming. Whoever iterates it watches for silence, and ends it by the signal of the call. */
export interface ApiStream {
  readonly status: number;
  readonly body: AsyncIterable<Buffer>;
}

/** What makes calls; KubeConnection is the one that does. */
export interface ApiCaller {
  readonly namespace: string;
  request<T>(call: ApiCall, limits?: CallLimits): Promise<T>;
  stream(
    call: ApiCall,
    limits: { readonly signal: AbortSignal; readonly connectDeadlineMs: number },
  ): Promise<ApiStream>;
}

/** Why a watch or a log was opened anew. */
export type RestartReason =
  /** The server ended it without a word of why. */
  | 'ended'
  /** Nothing came for longer than it may. */
  | 'silent'
  /** The connection broke, or none came about. */
  | 'reset'
  /** The server no longer knows where we were: everything is listed anew. */
  | 'expired'
  /** Something came that is no event. */
  | 'broken'
  /** The server answered with an error. */
  | 'refused'
  /** What takes the lines failed. */
  | 'not-taken';

/** What happens between the agent and the API server; told, never awaited. */
export type ApiEvent =
  | {
      readonly type: 'request';
      readonly verb: ApiVerb;
      readonly resource: string;
      readonly code: number | 'timeout' | 'unreachable';
      readonly seconds: number;
    }
  | {
      readonly type: 'watch-restart' | 'log-restart';
      readonly resource: string;
      readonly reason: RestartReason;
      readonly error?: unknown;
    }
  /** Somebody who was told of a change failed; the watch goes on. */
  | { readonly type: 'callback-failed'; readonly resource: string; readonly error: unknown }
  /** How old a line was by the clock of its node when it came; at most once a second for each log. */
  | { readonly type: 'log-lag'; readonly seconds: number }
  /** The kubelet put words of its own into a log, or a line was too long: neither is a frame. */
  | { readonly type: 'log-stray'; readonly pod: string; readonly text: string };

/**
 * Returns the path of a resource of `namespace`, of one object of it where `name` is given.
 *
 * `resource` may name a subresource, `pods/log`, which needs a name. Only the core group is there.
 */
export function pathFor(namespace: string, resource: string, name?: string): string {
  const [plural = '', subresource] = resource.split('/');
  if (subresource !== undefined && name === undefined)
    throw new TypeError(`${resource} is a part of one object: it needs a name`);
  const parts = ['api', 'v1', 'namespaces', namespace, plural, name, subresource];
  return parts.flatMap((part) => (part === undefined ? [] : ['/', encodeURIComponent(part)])).join('');
}
