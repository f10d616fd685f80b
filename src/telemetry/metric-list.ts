/** One metric as Prometheus sees it. */
export interface MetricRow {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly labels: readonly string[];
  readonly help: string;
  readonly buckets?: readonly number[];
}

const SECONDS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60];
const LONG_SECONDS = [0.01, 0.1, 1, 10, 60, 600];

/**
 * Every metric of the agent, once: registered from here, documented in docs/reference/metrics.md from here.
 *
 * Labels are bounded: codes, verbs, states, routes. Never a ticket, a package or a server.
 */
// prettier-ignore
export const METRICS = {
  longshore_build_info: { type: 'gauge', labels: ['version', 'node'], help: 'always 1; what runs here' },
  longshore_http_requests_total: { type: 'counter', labels: ['method', 'route', 'status'], help: 'requests answered' },
  longshore_http_request_seconds: { type: 'histogram', labels: ['method', 'route'], help: 'from the head of a request to the end of its answer, long-polls included', buckets: LONG_SECONDS },
  longshore_http_failures_total: { type: 'counter', labels: ['code'], help: 'requests answered with a problem document, by code of the failure table' },
  longshore_staging_bytes_total: { type: 'counter', labels: [], help: 'bytes of uploads that were verified and stored' },
  longshore_staging_seconds: { type: 'histogram', labels: ['result'], help: 'from the first byte of an upload to durable, or to its failure', buckets: LONG_SECONDS },
  longshore_staging_digest_mismatches_total: { type: 'counter', labels: [], help: 'uploads whose bytes did not have the announced digest' },
  longshore_staging_uploads_in_flight: { type: 'gauge', labels: [], help: 'uploads under way' },
  longshore_scripts: { type: 'gauge', labels: ['state'], help: 'scripts that are not over, by state' },
  longshore_script_outcomes_total: { type: 'counter', labels: ['code', 'category'], help: 'scripts settled by this agent, by outcome' },
  longshore_script_troubles_total: { type: 'counter', labels: ['step', 'code'], help: 'steps of a script that failed and are tried again' },
  longshore_script_leftovers_total: { type: 'counter', labels: ['reason'], help: 'runners or pods that were removed because no record speaks of them (orphaned), or their script is over (over)' },
  longshore_journal_lines_total: { type: 'counter', labels: [], help: 'journal lines given to clients' },
  longshore_journal_lag_seconds: { type: 'histogram', labels: [], help: 'age of the newest line when a client gets it', buckets: LONG_SECONDS },
  longshore_journal_gaps_total: { type: 'counter', labels: [], help: 'gaps that clients were told of: lines that neither witness has' },
  longshore_kubernetes_requests_total: { type: 'counter', labels: ['verb', 'resource', 'code'], help: 'calls to the API server; code is the HTTP status, timeout or unreachable' },
  longshore_kubernetes_request_seconds: { type: 'histogram', labels: ['verb', 'resource'], help: 'time of a call to the API server; of a stream, until its head', buckets: SECONDS },
  longshore_kubernetes_watch_restarts_total: { type: 'counter', labels: ['resource', 'reason'], help: 'watches and log follows that were opened again, by why' },
  longshore_pods: { type: 'gauge', labels: ['state'], help: 'script pods of this agent and its replicas: pending, running or ended' },
  longshore_pod_phase_seconds: { type: 'histogram', labels: ['phase'], help: 'stretches of the way of a script pod: until scheduled, initialized, pulled, started, and while it ran (ended)', buckets: LONG_SECONDS },
  longshore_pod_log_lag_seconds: { type: 'histogram', labels: [], help: 'age of a line of a pod log when the agent has it', buckets: SECONDS },
  longshore_volume_operations_total: { type: 'counter', labels: ['operation', 'result'], help: 'operations on the volume; result is ok, the name of the errno, refused or overdue' },
  longshore_volume_operation_seconds: { type: 'histogram', labels: ['operation'], help: 'time of an operation in the kernel', buckets: SECONDS },
  longshore_volume_operations_in_flight: { type: 'gauge', labels: [], help: 'operations in the kernel now' },
  longshore_volume_operations_overdue: { type: 'gauge', labels: [], help: 'operations in the kernel that are past their deadline' },
  longshore_volume_oldest_operation_seconds: { type: 'gauge', labels: [], help: 'age of the oldest operation in the kernel' },
  longshore_mount_verdict: { type: 'gauge', labels: ['verdict'], help: '1 for what the agent believes of the volume: trusted, stalled or lost' },
  longshore_mount_evidence_total: { type: 'counter', labels: ['kind', 'result'], help: 'what was seen of the volume and its NFS peer, by kind and what it was; result is ok, missed, the name of an errno and the like' },
  longshore_mount_probe_seconds: { type: 'histogram', labels: ['kind', 'end'], help: 'time of a probe of the volume: liveness or canary', buckets: SECONDS },
  longshore_mount_probes_held: { type: 'gauge', labels: ['kind'], help: 'processes of probes that were killed and that the kernel still holds' },
  longshore_mount_outage_seconds: { type: 'histogram', labels: ['verdict'], help: 'how long the volume was stalled or lost, when that ended', buckets: LONG_SECONDS },
  longshore_mount_epoch_changes_total: { type: 'counter', labels: [], help: 'times that the agent went on with another volume content than before' },
  longshore_log_lines_total: { type: 'counter', labels: ['level'], help: 'log lines of level warn and above' },
} as const satisfies Record<string, MetricRow>;

export type MetricName = keyof typeof METRICS;
