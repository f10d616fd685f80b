import { Fault } from '../../protocol/fault.ts';
import type { ApiCall } from './api-call.ts';

/** The API server's own no: an answer with a status of 300 or more. */
export class ApiRefusal extends Error {
  readonly status: number;
  /** The word of the API such as `AlreadyExists`; empty where it gave none. */
  readonly reason: string;
  /** How long it asks to wait, where it does. */
  readonly retryAfterMs: number | undefined;

  /** `message` is the server's, as it came, at most 8 KiB. */
  constructor(message: string, facts: { status: number; reason: string; retryAfterMs: number | undefined }) {
    super(message);
    this.name = 'ApiRefusal';
    this.status = facts.status;
    this.reason = facts.reason;
    this.retryAfterMs = facts.retryAfterMs;
  }
}

/** The call got no answer, or half of one; the cause is the error of the connection. */
export class NoAnswer extends Error {
  constructor(message: string, cause: unknown) {
    super(message, { cause });
    this.name = 'NoAnswer';
  }
}

const MAX_MESSAGE_CHARACTERS = 8192;

/**
 * An authorizer's no, in distinction to that of an admission plugin: quota, limits and pod security are 403 as well.
 *
 * Source: k8s.io/apiserver pkg/endpoints/handlers/responsewriters/errors.go, forbiddenMessage().
 */
const AUTHORIZER = /^[^ ]+ (?:"[^"]*" )?is forbidden: User "[^"]*" cannot [a-z]+ (?:resource|path) /;

/** Reads a refusal from an answer; what stands in front of the API server answers in no form at all. */
export function refusalFor(status: number, body: string, retryAfter: string | undefined): ApiRefusal {
  const { message, reason } = statusObject(body);
  const text = message ?? body.trim();
  const seconds = retryAfter === undefined ? NaN : Number(retryAfter);
  return new ApiRefusal((text || `HTTP status ${status}`).slice(0, MAX_MESSAGE_CHARACTERS), {
    status,
    reason: reason ?? '',
    retryAfterMs: seconds >= 0 ? seconds * 1000 : undefined,
  });
}

/** Tells whether the same call may go well soon: too many of them, or a server that is not well. */
export function isPassing(error: unknown): boolean {
  if (error instanceof NoAnswer) return true;
  return error instanceof ApiRefusal && (error.status === 429 || error.status >= 500);
}

/** Tells whether the agent itself may not do this: it is not known, or has no right to. */
export function isRightMissing(error: unknown): error is ApiRefusal {
  if (!(error instanceof ApiRefusal)) return false;
  return error.status === 401 || (error.status === 403 && AUTHORIZER.test(error.message));
}

/** Tells whether the place in the history that a list or a watch went on from is forgotten. */
export function isExpired(error: unknown): boolean {
  return error instanceof ApiRefusal && error.status === 410;
}

/** Returns what the caller of `call` meets: faults of its own for silence and for missing rights, refusals as they are. */
export function errorFor(call: ApiCall, error: unknown): unknown {
  const { verb, resource } = call;
  if (error instanceof NoAnswer)
    return new Fault('CLUSTER_UNREACHABLE', `the API server did not answer a ${verb} of ${resource}`, {
      cause: error.cause,
      detail: { verb, resource, evidence: reasonsOf(error.cause) },
    });
  if (isRightMissing(error))
    return new Fault('CLUSTER_FORBIDDEN', `the API server refused a ${verb} of ${resource} to the agent`, {
      cause: error,
      detail: { verb, resource, status: error.status, evidence: error.message },
    });
  return error;
}

/** The sentences of an error and of what caused it, one behind the other. */
export function reasonsOf(error: unknown): string {
  const seen: string[] = [];
  // Four are enough to come down to the errno; an error could be its own cause.
  for (let at = error; at instanceof Error && seen.length < 4; at = at.cause) {
    const inner = at instanceof AggregateError ? at.errors.map(String).join(', ') : '';
    seen.push(at.message || inner || at.name);
  }
  return seen.join(': ');
}

function statusObject(body: string): { message?: string; reason?: string } {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed !== 'object' || parsed === null) return {};
    const text = (name: string): string | undefined => {
      const value: unknown = Reflect.get(parsed, name);
      return typeof value === 'string' && value !== '' ? value : undefined;
    };
    const [message, reason] = [text('message'), text('reason')];
    return { ...(message !== undefined && { message }), ...(reason !== undefined && { reason }) };
  } catch {
    // A proxy's page, or nothing: the text as it came says more than "no JSON".
    return {};
  }
}
