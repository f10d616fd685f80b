import { FAILURES, isFailureCode } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';
import type { Logger } from './logger.ts';
import { errorFields } from './logger.ts';
import type { Metrics } from './metrics.ts';

/** An operation on the volume, as far as it is counted. */
interface VolumeStep {
  readonly phase: 'begin' | 'end' | 'overdue' | 'refused';
  readonly operation: string;
  readonly path: string;
  readonly result?: string;
  readonly seconds?: number;
}

/** What the HTTP interface tells, as far as it is counted. */
type Answered =
  | {
      readonly type: 'request';
      readonly id: string;
      readonly method: string;
      readonly route: string;
      readonly status: number;
      readonly seconds: number;
      readonly server: string | undefined;
      readonly ticket: string | undefined;
      readonly code: string | undefined;
    }
  | {
      readonly type: 'upload';
      readonly kind: string;
      readonly result: string;
      readonly bytes: number;
      readonly seconds: number;
    }
  | { readonly type: 'failure'; readonly id: string; readonly route: string; readonly error: unknown };

/** What happens to scripts, as far as it is counted. */
type ScriptNews =
  | { readonly type: 'state'; readonly server: string; readonly ticket: string; readonly state: string }
  | {
      readonly type: 'settled';
      readonly server: string;
      readonly ticket: string;
      readonly code: string;
      readonly says: string;
    }
  | { readonly type: 'completed'; readonly key: string }
  | { readonly type: 'leftover'; readonly key: string; readonly reason: string }
  | {
      readonly type: 'read';
      readonly lines: number;
      readonly gaps: number;
      readonly lagSeconds: number | undefined;
    }
  | {
      readonly type: 'trouble';
      readonly key: string | undefined;
      readonly step: string;
      readonly error: unknown;
    };

/** Counts and logs what the rooms tell: a line for each change of state, a count for everything. */
export class Reporter {
  readonly #metrics: Metrics;
  readonly #logger: Logger;

  constructor(metrics: Metrics, logger: Logger) {
    this.#metrics = metrics;
    this.#logger = logger;
  }

  volume({ phase, operation, path, result = phase, seconds }: VolumeStep): void {
    if (phase === 'begin') return;
    this.#metrics.count('longshore_volume_operations_total', { operation, result });
    if (seconds !== undefined)
      this.#metrics.observe('longshore_volume_operation_seconds', { operation }, seconds);
    if (phase !== 'end')
      this.#logger.warn({ operation, path, phase }, 'an operation on the volume is not answered in time');
  }

  api(event: Answered): void {
    if (event.type === 'request') this.#request(event);
    else if (event.type === 'upload') this.#upload(event);
    else
      this.#logger.error(
        { requestId: event.id, route: event.route, ...errorFields(event.error) },
        'a request met an unforeseen error',
      );
  }

  scripts(event: ScriptNews): void {
    switch (event.type) {
      case 'state':
        return this.#logger.info(
          { ticket: event.ticket, server: event.server, state: event.state },
          'a script changed its state',
        );
      case 'settled':
        return this.#settled(event);
      case 'completed':
        return this.#logger.info({ script: event.key }, 'a script is completed');
      case 'leftover':
        this.#metrics.count('longshore_script_leftovers_total', { reason: event.reason });
        return this.#logger.info(
          { script: event.key, reason: event.reason },
          'a leftover of a script is removed',
        );
      case 'read':
        this.#metrics.count('longshore_journal_lines_total', {}, event.lines);
        this.#metrics.count('longshore_journal_gaps_total', {}, event.gaps);
        if (event.lagSeconds !== undefined && event.lagSeconds >= 0) {
          this.#metrics.observe('longshore_journal_lag_seconds', {}, event.lagSeconds);
        }
        return;
      case 'trouble':
        return this.#trouble(event);
      default:
        event satisfies never;
    }
  }

  #request({
    id,
    method,
    route,
    status,
    seconds,
    server,
    ticket,
    code,
  }: Answered & { type: 'request' }): void {
    this.#metrics.count('longshore_http_requests_total', { method, route, status: String(status) });
    this.#metrics.observe('longshore_http_request_seconds', { method, route }, seconds);
    if (code !== undefined) this.#metrics.count('longshore_http_failures_total', { code });
    const fields = { requestId: id, method, route, status, seconds, server, ticket, code };
    if (status >= 500) this.#logger.warn(fields, 'a request was answered');
    else this.#logger.debug(fields, 'a request was answered');
  }

  #upload({ kind, result, bytes, seconds }: Answered & { type: 'upload' }): void {
    this.#metrics.observe('longshore_staging_seconds', { result }, seconds);
    this.#metrics.count('longshore_staging_bytes_total', {}, bytes);
    if (result === 'DIGEST_MISMATCH') this.#metrics.count('longshore_staging_digest_mismatches_total');
    this.#logger.info({ kind, result, bytes, seconds }, 'an upload is over');
  }

  #settled({ server, ticket, code, says }: ScriptNews & { type: 'settled' }): void {
    const category = isFailureCode(code) ? FAILURES[code].category : 'agent';
    this.#metrics.count('longshore_script_outcomes_total', { code, category });
    this.#logger.info({ ticket, server, code, says }, 'a script is settled');
  }

  #trouble({ key, step, error }: ScriptNews & { type: 'trouble' }): void {
    const code = error instanceof Fault ? error.code : 'AGENT_FAILED';
    this.#metrics.count('longshore_script_troubles_total', { step, code });
    this.#logger.warn({ script: key, step, ...errorFields(error) }, 'a step failed and is tried again');
  }
}
