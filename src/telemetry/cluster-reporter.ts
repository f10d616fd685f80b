import type { Logger } from './logger.ts';
import { errorFields } from './logger.ts';
import type { Metrics } from './metrics.ts';

/** What the way to the cluster tells, as far as it is counted. */
type ClusterNews =
  | {
      readonly type: 'request';
      readonly verb: string;
      readonly resource: string;
      readonly code: number | string;
      readonly seconds: number;
    }
  | {
      readonly type: 'watch-restart' | 'log-restart';
      readonly resource: string;
      readonly reason: string;
      readonly error?: unknown;
    }
  | { readonly type: 'callback-failed'; readonly resource: string; readonly error: unknown }
  | { readonly type: 'log-lag'; readonly seconds: number }
  | { readonly type: 'log-stray'; readonly pod: string; readonly text: string }
  | { readonly type: 'phase'; readonly phase: string; readonly seconds: number };

/** Counts and logs what happens between the agent and the API server. */
export class ClusterReporter {
  readonly #metrics: Metrics;
  readonly #logger: Logger;

  constructor(metrics: Metrics, logger: Logger) {
    this.#metrics = metrics;
    this.#logger = logger;
  }

  tell(event: ClusterNews): void {
    switch (event.type) {
      case 'request':
        return this.#request(event);
      case 'watch-restart':
      case 'log-restart':
        return this.#restart(event);
      case 'callback-failed': {
        const fields = { resource: event.resource, ...errorFields(event.error) };
        return this.#logger.error(fields, 'a change in the cluster could not be taken in');
      }
      case 'log-lag':
        return this.#metrics.observe('longshore_pod_log_lag_seconds', {}, event.seconds);
      case 'log-stray':
        return this.#logger.warn({ pod: event.pod, text: event.text }, 'a pod log has a line of the kubelet');
      case 'phase':
        return this.#metrics.observe('longshore_pod_phase_seconds', { phase: event.phase }, event.seconds);
      default:
        event satisfies never;
    }
  }

  #request({ verb, resource, code, seconds }: ClusterNews & { type: 'request' }): void {
    this.#metrics.count('longshore_kubernetes_requests_total', { verb, resource, code: String(code) });
    this.#metrics.observe('longshore_kubernetes_request_seconds', { verb, resource }, seconds);
  }

  #restart({ resource, reason, error }: ClusterNews & { type: 'watch-restart' | 'log-restart' }): void {
    this.#metrics.count('longshore_kubernetes_watch_restarts_total', { resource, reason });
    const fields = { resource, reason, ...(error !== undefined && errorFields(error)) };
    // A log ends with its container, and a watch every few minutes.
    if (reason === 'ended') this.#logger.debug(fields, 'a stream of the API server is opened again');
    else this.#logger.warn(fields, 'a stream of the API server broke off and is opened again');
  }
}
