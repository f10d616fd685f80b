import t from 'tap';
import { METRICS, type MetricRow } from '../../src/telemetry/metric-list.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { MetricsServer } from '../../src/telemetry/metrics-server.ts';

const none = {};

t.test('the list keeps to the rules for names and labels', async (t) => {
  for (const [name, row] of Object.entries<MetricRow>(METRICS)) {
    t.match(name, /^longshore_[a-z]+(_[a-z]+)*$/);
    t.equal(
      name.endsWith('_total'),
      row.type === 'counter',
      `${name}: counters, and only they, end in _total`,
    );
    t.equal(
      name.endsWith('_seconds') && row.type === 'histogram',
      row.buckets !== undefined,
      `${name}: buckets`,
    );
    t.ok(row.help.length > 5, name);
    for (const label of row.labels)
      t.notMatch(label, /ticket|package|server|key|id/, `${name}: bounded labels`);
  }
});

t.test('Metrics registers every row of the list, and renders it in both formats', async (t) => {
  const metrics = new Metrics();
  metrics.count('longshore_http_failures_total', { code: 'STORAGE_FULL' }, 2);
  metrics.observe('longshore_volume_operation_seconds', { operation: 'open' }, 0.01);
  const plain = await metrics.render(none);
  t.match(plain.type, /^text\/plain; version=0\.0\.4/);
  for (const name of Object.keys(METRICS)) t.match(plain.text, `# TYPE ${name} `);
  t.match(plain.text, 'longshore_http_failures_total{code="STORAGE_FULL"} 2');
  t.match(plain.text, 'longshore_volume_operation_seconds_count{operation="open"} 1');
  const open = await metrics.render(none, 'application/openmetrics-text;version=1.0.0,text/plain;q=0.5');
  t.match(open.type, /^application\/openmetrics-text; version=1\.0\.0/);
  t.match(open.text, /# TYPE longshore_http_failures counter/);
  t.match(open.text, /longshore_http_failures_total\{code="STORAGE_FULL"\} 2/);
  t.match(open.text, /# EOF\n$/);
});

t.test('gauges are read when somebody scrapes, and a state that nobody is in falls back', async (t) => {
  const metrics = new Metrics();
  const states = new Map([['running', 2]]);
  const readers = { longshore_scripts: () => states, longshore_staging_uploads_in_flight: () => 3 };
  t.match((await metrics.render(readers)).text, /longshore_scripts\{state="running"\} 2/);
  states.clear();
  states.set('waiting', 1);
  const { text } = await metrics.render(readers);
  t.notMatch(text, /state="running"/);
  t.match(text, /longshore_scripts\{state="waiting"\} 1/);
  t.match(text, /longshore_staging_uploads_in_flight 3/);
});

t.test('two agents in one process count apart', async (t) => {
  const [one, other] = [new Metrics(), new Metrics()];
  one.count('longshore_journal_lines_total', {}, 5);
  t.match((await other.render(none)).text, /longshore_journal_lines_total 0/);
});

t.test('MetricsServer serves GET /metrics and nothing else', async (t) => {
  let fails = false;
  const server = new MetricsServer(async (accept) => {
    if (fails) throw new Error('no metrics today');
    return { type: 'text/plain', text: `for ${accept ?? 'anybody'}\n` };
  });
  const url = `http://${await server.listen({ host: '127.0.0.1', port: 0 })}`;
  t.teardown(() => server.close());
  const scrape = await fetch(`${url}/metrics?x=1`, { headers: { accept: 'text/plain' } });
  t.equal(await scrape.text(), 'for text/plain\n');
  t.equal((await fetch(`${url}/`)).status, 404);
  t.equal((await fetch(`${url}/metrics`, { method: 'POST' })).status, 404);
  fails = true;
  const failed = await fetch(`${url}/metrics`);
  t.equal(failed.status, 500);
  t.match(await failed.text(), /no metrics today/);
});

t.test('MetricsServer says where a port is taken, and names IPv6 hosts in brackets', async (t) => {
  const render = async () => ({ type: 'text/plain', text: '' });
  const first = new MetricsServer(render);
  const address = await first.listen({ host: '127.0.0.1', port: 0 });
  t.teardown(() => first.close());
  const port = Number(address.split(':').at(-1));
  await t.rejects(new MetricsServer(render).listen({ host: '127.0.0.1', port }), { code: 'EADDRINUSE' });
  const six = new MetricsServer(render);
  try {
    t.match(await six.listen({ host: '::1', port: 0 }), /^\[::1\]:\d+$/);
    await six.close();
  } catch (error) {
    t.match(error, { code: /EADDRNOTAVAIL|EAFNOSUPPORT/ }, 'this machine has no IPv6');
  }
});
