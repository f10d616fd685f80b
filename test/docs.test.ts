/** The pages of reference say what the code does, and nothing else. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { FAILURES, isFailureCode } from '../src/protocol/failure-table.ts';
import { configRows } from '../src/config-schema.ts';
import { METRICS } from '../src/telemetry/metric-list.ts';
import { FAILURE_ADVICE } from './gate/failure-advice.ts';
import { openApi, referencePages, sentence } from './gate/reference-pages.ts';
import { AgentProcess } from './harness/agent-process.ts';
import { temporaryFolder } from './harness/temporary-volume.ts';

const textOf = (page: string): string => readFileSync(`docs/reference/${page}.md`, 'utf8');

t.test('each page of reference is what `npm run docs` makes of the code', async (t) => {
  for (const [path, page] of await referencePages()) {
    t.equal(readFileSync(path, 'utf8'), page, `${path} is as the code says`);
  }
});

t.test(
  'failures.md has a section for each code and for nothing else, with sentence, status, exit code, retry and advice',
  async (t) => {
    const sections = textOf('failures').split('\n## ').slice(1);
    t.same(
      sections.map((section) => section.split('\n', 1)[0]),
      Object.keys(FAILURES),
    );
    for (const section of sections) {
      const [code = '', says, facts = '', advice] = section.split('\n\n').map((part) => part.trim());
      if (!isFailureCode(code)) throw new Error(`${code} is no code`);
      const { status, exit, retry, says: row } = FAILURES[code];
      t.equal(says, sentence(row), code);
      t.equal(/HTTP status (\d+)/.exec(facts)?.[1], status === null ? undefined : String(status), code);
      t.match(facts, `exit code ${exit}`);
      t.match(facts, `retry ${retry}`);
      t.equal(advice, FAILURE_ADVICE[code], code);
    }
  },
);

t.test('a test speaks of each code', (t) => {
  const tests = readdirSync('test', { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts') && path !== 'docs.test.ts')
    .map((path) => readFileSync(join('test', path), 'utf8'))
    .join('\n');
  for (const code of Object.keys(FAILURES)) t.ok(new RegExp(`\\b${code}\\b`).test(tests), code);
  t.end();
});

t.test('what the advice refers to is there', async (t) => {
  const keys = new Set(configRows().map(({ key }) => key));
  const settings = /`((?:max|upload|volume|tombstone|script)[A-Z]\w*)`/g;
  for (const [code, advice] of Object.entries(FAILURE_ADVICE)) {
    for (const [, key = ''] of advice.matchAll(settings)) t.ok(keys.has(key), `${code}: ${key} is a setting`);
    for (const [, name = ''] of advice.matchAll(/`(longshore_\w+)`/g))
      t.ok(name in METRICS, `${code}: ${name} is a metric`);
  }
});

t.test('configuration.md has every setting once, with flag, variable, rule and default', async (t) => {
  const page = textOf('configuration');
  for (const { key, flag, environment, rule } of configRows()) {
    const rows = page.split('\n').filter((line) => line.startsWith(`| <a id="${key}"></a>`));
    t.equal(rows.length, 1, key);
    for (const part of [`\`${flag}\``, `\`${environment}\``, rule.replaceAll('|', '\\|')])
      t.ok(rows[0]?.includes(part), `${key} ${part}`);
  }
});

t.test('metrics.md has exactly the metrics that an agent gives to a scraper', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'volume'));
  const agent = await AgentProcess.start(t, { volume: join(folder, 'volume'), state: join(folder, 'state') });
  const scrape = await (await fetch(agent.metrics)).text();
  const scraped = [...scrape.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(
    ([, name, type]) => `${name ?? ''} ${type ?? ''}`,
  );
  const documented = [...textOf('metrics').matchAll(/^\| `(\w+)` \| (\w+) \|/gm)].map(
    ([, name, type]) => `${name ?? ''} ${type ?? ''}`,
  );
  t.same(scraped.sort(), documented.sort());
});

t.test('http.md has every call of the OpenAPI document', async (t) => {
  const { paths } = (await openApi()) as { paths: Record<string, object> };
  const calls = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const headings = [...textOf('http').matchAll(/^### ([A-Z]+ \/.*)$/gm)].map(([, heading]) => heading);
  t.same(headings.toSorted(), calls.toSorted());
});
