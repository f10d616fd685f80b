/** What of the way to the cluster is counted, and what is logged. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { Fault } from '../../src/protocol/fault.ts';
import { ClusterReporter } from '../../src/telemetry/cluster-reporter.ts';
import { makeLogger } from '../../src/telemetry/logger.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

interface Told {
  readonly reporter: ClusterReporter;
  readonly lines: () => Record<string, unknown>[];
  readonly scraped: () => Promise<string>;
}

function made(t: { teardown: (work: () => void) => void }): Told {
  const file = join(temporaryFolder(t), 'log');
  const fd = openSync(file, 'w');
  t.teardown(() => closeSync(fd));
  const metrics = new Metrics();
  const reporter = new ClusterReporter(metrics, makeLogger({ level: 'debug', fd }));
  const lines = (): Record<string, unknown>[] =>
    readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { reporter, lines, scraped: async () => (await metrics.render({})).text };
}

test('requests are counted by verb, resource and code, and timed without the code', async (t) => {
  const { reporter, scraped, lines } = made(t);
  const request = { type: 'request', verb: 'create', resource: 'pods', seconds: 0.003 } as const;
  for (const code of [201, 201, 409, 'timeout']) reporter.tell({ ...request, code });
  const text = await scraped();
  const labels = 'verb="create",resource="pods"';
  t.match(text, `longshore_kubernetes_requests_total{${labels},code="201"} 2`);
  t.match(text, `longshore_kubernetes_requests_total{${labels},code="409"} 1`);
  t.match(text, `longshore_kubernetes_requests_total{${labels},code="timeout"} 1`);
  t.match(text, `longshore_kubernetes_request_seconds_count{${labels}} 4`);
  t.same(lines(), [], 'a request is no line');
});

test('a stream that is opened again is counted by why; one that broke off is a warning with its causes', async (t) => {
  const { reporter, scraped, lines } = made(t);
  const cause = new Error('connect ECONNREFUSED');
  const error = new Fault('CLUSTER_UNREACHABLE', 'no answer', { cause });
  reporter.tell({ type: 'watch-restart', resource: 'pods', reason: 'reset', error });
  reporter.tell({ type: 'watch-restart', resource: 'pods', reason: 'ended' });
  reporter.tell({ type: 'log-restart', resource: 'pods/log', reason: 'silent' });
  const text = await scraped();
  t.match(text, 'longshore_kubernetes_watch_restarts_total{resource="pods",reason="reset"} 1');
  t.match(text, 'longshore_kubernetes_watch_restarts_total{resource="pods",reason="ended"} 1');
  t.match(text, 'longshore_kubernetes_watch_restarts_total{resource="pods/log",reason="silent"} 1');
  const [broke, ended, silent] = lines();
  t.match(broke, { level: 'warn', resource: 'pods', reason: 'reset', code: 'CLUSTER_UNREACHABLE' });
  t.match(broke, { cause: { error: 'connect ECONNREFUSED' } });
  t.match(ended, { level: 'debug', reason: 'ended' });
  t.match(silent, { level: 'warn', reason: 'silent' });
  t.notOk(silent && 'error' in silent);
});

test('the age of log lines and the stretches of the way of pods are measured', async (t) => {
  const { reporter, scraped } = made(t);
  reporter.tell({ type: 'log-lag', seconds: 0.2 });
  reporter.tell({ type: 'phase', phase: 'pulled', seconds: 12 });
  const text = await scraped();
  t.match(text, 'longshore_pod_log_lag_seconds_sum 0.2');
  t.match(text, 'longshore_pod_phase_seconds_sum{phase="pulled"} 12');
});

test('what the kubelet wrote into a log is a warning, and a change that was not taken in an error', async (t) => {
  const { reporter, lines } = made(t);
  reporter.tell({ type: 'log-stray', pod: 'ls-a', text: 'unable to retrieve container logs' });
  reporter.tell({ type: 'callback-failed', resource: 'pods', error: new TypeError('a bug') });
  t.match(lines(), [
    { level: 'warn', pod: 'ls-a', text: 'unable to retrieve container logs' },
    { level: 'error', resource: 'pods', error: 'a bug', stack: /TypeError/ },
  ]);
});
