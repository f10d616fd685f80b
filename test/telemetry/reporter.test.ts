import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Fault } from '../../src/protocol/fault.ts';
import { errorFields, makeLogger } from '../../src/telemetry/logger.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { Reporter } from '../../src/telemetry/reporter.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

interface Told {
  readonly reporter: Reporter;
  readonly metrics: Metrics;
  /** The log lines so far. */
  readonly lines: () => Record<string, unknown>[];
  readonly scraped: () => Promise<string>;
}

function made(t: { teardown: (work: () => void) => void }, level = 'debug'): Told {
  const file = join(temporaryFolder(t), 'log');
  const fd = openSync(file, 'w');
  t.teardown(() => closeSync(fd));
  const metrics = new Metrics();
  const counted = (name: string): void => metrics.count('longshore_log_lines_total', { level: name });
  const reporter = new Reporter(metrics, makeLogger({ level, fd, counted }));
  const lines = (): Record<string, unknown>[] =>
    readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { reporter, metrics, lines, scraped: async () => (await metrics.render({})).text };
}

t.test('a log line is JSON with a constant message, a time, a level by name, and hides tokens', async (t) => {
  const file = join(temporaryFolder(t), 'log');
  const fd = openSync(file, 'w');
  const levels: string[] = [];
  const logger = makeLogger({ level: 'info', fd, counted: (level) => levels.push(level) });
  logger.debug({}, 'never written');
  logger.info({ ticket: 't1', token: 'secret', headers: { authorization: 'secret' }, key: 'secret' }, 'said');
  logger.warn({}, 'warned');
  logger.error({}, 'failed');
  closeSync(fd);
  const [line = '', ...others] = readFileSync(file, 'utf8').trim().split('\n');
  t.match(JSON.parse(line), {
    level: 'info',
    name: 'longshore',
    time: /^\d{4}-.*Z$/,
    ticket: 't1',
    msg: 'said',
  });
  t.notMatch(line, /secret/);
  t.equal(others.length, 2);
  t.same(levels, ['warn', 'error']);
});

t.test('errorFields() keeps code, detail and every cause down to errno', async (t) => {
  const errno = Object.assign(new Error('EIO'), { errno: -5, code: 'EIO' });
  const fault = new Fault('STORAGE_ERROR', 'cannot read', { cause: errno, detail: { path: '/v' } });
  t.match(errorFields(fault), {
    error: 'cannot read',
    code: 'STORAGE_ERROR',
    detail: { path: '/v' },
    cause: { error: 'EIO', errno: -5, stack: /EIO/ },
  });
  t.notOk('stack' in errorFields(fault), 'a Fault is no bug');
  t.same(errorFields('text'), { error: 'text' });
});

t.test('operations on the volume are counted by result, and those that are late are logged', async (t) => {
  const { reporter, lines, scraped } = made(t);
  const operation = { operation: 'open', path: '/v/a' };
  reporter.volume({ phase: 'begin', ...operation });
  reporter.volume({ phase: 'end', ...operation, result: 'ok', seconds: 0.01 });
  reporter.volume({ phase: 'end', ...operation, result: 'ESTALE', seconds: 0.01 });
  reporter.volume({ phase: 'overdue', ...operation });
  reporter.volume({ phase: 'refused', ...operation });
  const text = await scraped();
  for (const result of ['ok', 'ESTALE', 'overdue', 'refused']) {
    t.match(text, `longshore_volume_operations_total{operation="open",result="${result}"} 1`);
  }
  t.match(text, 'longshore_volume_operation_seconds_count{operation="open"} 2');
  t.match(lines(), [
    { level: 'warn', phase: 'overdue', path: '/v/a' },
    { level: 'warn', phase: 'refused' },
  ]);
  t.match(text, 'longshore_log_lines_total{level="warn"} 2');
});

t.test('requests are counted by route, status and code; failures and bugs are logged', async (t) => {
  const { reporter, lines, scraped } = made(t, 'info');
  const request = {
    type: 'request',
    id: 'r1',
    method: 'GET',
    route: '/v1/scripts/:ticket',
    seconds: 0.1,
    server: 'one',
    ticket: 't1',
  } as const;
  reporter.api({ ...request, status: 200, code: undefined });
  reporter.api({ ...request, status: 503, code: 'STORAGE_TIMEOUT' });
  reporter.api({ type: 'failure', id: 'r1', route: '/v1/scripts/:ticket', error: new TypeError('a bug') });
  const text = await scraped();
  t.match(text, 'longshore_http_requests_total{method="GET",route="/v1/scripts/:ticket",status="200"} 1');
  t.match(text, 'longshore_http_request_seconds_count{method="GET",route="/v1/scripts/:ticket"} 2');
  t.match(text, 'longshore_http_failures_total{code="STORAGE_TIMEOUT"} 1');
  t.notMatch(text, /t1|"one"/, 'never a ticket or a server as label');
  t.match(lines(), [
    { level: 'warn', requestId: 'r1', ticket: 't1', server: 'one', code: 'STORAGE_TIMEOUT' },
    { level: 'error', requestId: 'r1', error: 'a bug', stack: /TypeError/ },
  ]);
});

t.test('uploads are counted in bytes, seconds and mismatches', async (t) => {
  const { reporter, scraped } = made(t);
  reporter.api({ type: 'upload', kind: 'package', result: 'created', bytes: 5000, seconds: 0.5 });
  reporter.api({ type: 'upload', kind: 'blob', result: 'DIGEST_MISMATCH', bytes: 0, seconds: 0.5 });
  const text = await scraped();
  t.match(text, 'longshore_staging_bytes_total 5000');
  t.match(text, 'longshore_staging_seconds_count{result="created"} 1');
  t.match(text, 'longshore_staging_digest_mismatches_total 1');
});

t.test('the life of a script is a line for each change of state, and counts', async (t) => {
  const { reporter, lines, scraped } = made(t);
  const script = { server: 'one', ticket: 't1' };
  reporter.scripts({ type: 'state', ...script, state: 'running' });
  reporter.scripts({ type: 'settled', ...script, code: 'SCRIPT_FAILED', says: 'it failed' });
  reporter.scripts({ type: 'completed', key: 't1-0011' });
  reporter.scripts({ type: 'read', lines: 7, gaps: 0, lagSeconds: 0.2 });
  reporter.scripts({ type: 'read', lines: 0, gaps: 0, lagSeconds: undefined });
  reporter.scripts({
    type: 'trouble',
    key: 't1-0011',
    step: 'launch',
    error: new Fault('RUNNER_NOT_STARTED', 'no'),
  });
  reporter.scripts({ type: 'trouble', key: undefined, step: 'reconcile', error: new TypeError('a bug') });
  const text = await scraped();
  t.match(text, 'longshore_script_outcomes_total{code="SCRIPT_FAILED",category="script"} 1');
  t.match(text, 'longshore_journal_lines_total 7');
  t.match(text, 'longshore_journal_lag_seconds_count 1');
  t.match(text, 'longshore_script_troubles_total{step="launch",code="RUNNER_NOT_STARTED"} 1');
  t.match(text, 'longshore_script_troubles_total{step="reconcile",code="AGENT_FAILED"} 1');
  t.match(lines(), [
    { msg: 'a script changed its state', ticket: 't1', server: 'one', state: 'running' },
    { msg: 'a script is settled', ticket: 't1', code: 'SCRIPT_FAILED' },
    { msg: 'a script is completed' },
    { level: 'warn', step: 'launch', code: 'RUNNER_NOT_STARTED' },
    { level: 'warn', step: 'reconcile', error: 'a bug' },
  ]);
});
