import { FAILURES, type FailureCode } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';

/** An answer of RFC 9457, application/problem+json. */
export interface Problem {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What is known of the request that failed. */
export interface ProblemContext {
  readonly requestId: string;
  readonly ticket?: string | undefined;
}

const RETRY_AFTER_S = { later: 5, operator: 30, never: 0 } as const;

/** What the framework says by itself, in our words. */
const FRAMEWORK_CODES: Readonly<Record<string, FailureCode>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'MEDIA_TYPE_UNSUPPORTED',
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  FST_ERR_NOT_FOUND: 'ROUTE_UNKNOWN',
};

/** Turns anything that was thrown into a Fault; what nobody foresaw is AGENT_FAILED with the error as its cause. */
export function faultOf(error: unknown, requestId: string): Fault {
  if (error instanceof Fault) return error;
  const { code, statusCode, message } = (error instanceof Error ? error : {}) as Record<string, unknown>;
  const known = typeof code === 'string' ? FRAMEWORK_CODES[code] : undefined;
  if (known !== undefined) return new Fault(known, String(message), { cause: error });
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return new Fault('REQUEST_INVALID', `the request cannot be read: ${String(message)}`, { cause: error });
  }
  return new Fault('AGENT_FAILED', `an unforeseen error; the log has it under the request id ${requestId}`, {
    cause: error,
  });
}

/**
 * Renders a fault: status and sentence from the failure table, the message as detail, the fault's facts beside them.
 *
 * `type` is where this agent itself explains the code.
 */
export function problemFor(fault: Fault, { requestId, ticket }: ProblemContext): Problem {
  const row = FAILURES[fault.code];
  const status = row.status ?? 500;
  const asked = fault.detail['retryAfterSeconds'];
  const retryAfter = typeof asked === 'number' ? asked : RETRY_AFTER_S[row.retry];
  return {
    status,
    headers: {
      'content-type': 'application/problem+json',
      // An answer to HEAD has no body that could name the code.
      'x-longshore-code': fault.code,
      ...((status === 429 || status === 503) && { 'retry-after': String(retryAfter) }),
      ...(status === 401 && { 'www-authenticate': 'Bearer' }),
    },
    body: {
      ...fault.detail,
      type: `/v1/failures/${fault.code}`,
      title: row.says,
      status,
      detail: fault.message,
      code: fault.code,
      retry: row.retry,
      requestId,
      ...(ticket !== undefined && { ticket }),
    },
  };
}

/** Says that a part of the request breaks a rule. `field` is a JSON pointer, or the name of a header or parameter. */
export function invalidField(
  field: string,
  rule: string,
  value?: unknown,
  code: FailureCode = 'REQUEST_INVALID',
): Fault {
  const seen = value === undefined ? undefined : (JSON.stringify(value) ?? 'undefined').slice(0, 200);
  return new Fault(code, `${field} must be ${rule}${seen === undefined ? '' : `, not ${seen}`}`, {
    detail: { field, rule, ...(seen !== undefined && { value: seen }) },
  });
}
