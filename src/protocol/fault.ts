import { FAILURES, type FailureCode } from './failure-table.ts';

/** Facts beside the sentence, safe to show to a client: no secrets, no stack. */
export type FaultDetail = Readonly<Record<string, unknown>>;

/**
 * An error with a code of the failure table.
 *
 * `message` says what could not be done, the rule and the value seen, without a trailing period. `cause` keeps the
 * error below, down to errno. Bugs are never Faults: they are TypeError or RangeError and answer AGENT_FAILED.
 */
export class Fault extends Error {
  readonly code: FailureCode;
  readonly detail: FaultDetail;

  constructor(code: FailureCode, message: string, options: { cause?: unknown; detail?: FaultDetail } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'Fault';
    this.code = code;
    this.detail = options.detail ?? {};
  }

  get says(): string {
    return FAILURES[this.code].says;
  }
}
