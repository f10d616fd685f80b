/** The pages of docs/reference that follow from the code, rendered from it. */
import { rbacPage } from './rbac-page.ts';
import { buildApp } from '../../src/api/app.ts';
import { configRows } from '../../src/config-schema.ts';
import { FAILURES, type FailureCode } from '../../src/protocol/failure-table.ts';
import { METRICS, type MetricRow } from '../../src/telemetry/metric-list.ts';
import { doctorPage } from './doctor-page.ts';
import { FAILURE_ADVICE } from './failure-advice.ts';
import { httpPage } from './http-page.ts';
import { table } from './markdown-table.ts';
import { mountPage } from './mount-page.ts';

const GENERATED =
  '<!-- Made by `npm run docs`; a test compares it with the code. Change the code, not this page. -->';

/** Every page by its path, as it should be. */
export async function referencePages(): Promise<ReadonlyMap<string, string>> {
  const pages = {
    configuration: configurationPage(),
    metrics: metricsPage(),
    failures: failuresPage(),
    http: httpPage(await openApi()),
    rbac: rbacPage(),
    mount: mountPage(),
    doctor: doctorPage(),
  };
  return new Map(
    Object.entries(pages).map(([name, page]) => [
      `docs/reference/${name}.md`,
      page.replace('\n\n', `\n\n${GENERATED}\n\n`),
    ]),
  );
}

/** The OpenAPI document of an agent with the default settings. */
export async function openApi(): Promise<unknown> {
  const app = buildApp({
    agent: () => {
      throw new TypeError('there is no agent behind the documentation');
    },
    serverOf: () => undefined,
    limits: defaultLimits(),
    mount: () => {
      throw new TypeError('there is no volume behind the documentation');
    },
    readiness: () => ({ ready: true, says: 'ready' }),
    stopping: new AbortController().signal,
    version: '1',
    observe: () => undefined,
  });
  try {
    return (await app.inject({ url: '/v1/openapi.json' })).json();
  } finally {
    await app.close();
  }
}

function defaultLimits() {
  const initial = (key: string): number => Number(configRows().find((row) => row.key === key)?.initial);
  return {
    scriptBodyMaxBytes: initial('scriptBodyMaxBytes'),
    maxDeadlineSeconds: initial('maxDeadlineSeconds'),
    maxWaitSeconds: initial('maxWaitSeconds'),
    maxConnections: initial('maxConnections'),
    uploadMaxBytes: initial('uploadMaxBytes'),
    maxUploads: initial('maxUploads'),
    maxScripts: initial('maxScripts'),
    uploadStallMs: initial('uploadStallMs'),
  };
}

function configurationPage(): string {
  const rows = configRows().map(({ key, flag, environment, rule, initial, says }) => [
    `<a id="${key}"></a>\`${key}\``,
    `\`${flag}\`<br>\`${environment}\``,
    says,
    rule,
    initial === '' ? '' : `\`${initial}\``,
  ]);
  return `# Settings

What is set later wins: defaults, then the JSON file of \`--config FILE\` or \`LONGSHORE_CONFIG\`, then variables of the
environment, then flags of \`longshore serve\`. The file holds one object with the keys below. All broken settings are
listed at once and the agent does not start (\`CONFIG_INVALID\`, exit code 78). An empty variable counts as not set.

A name that ends in Ms, Seconds, Minutes, Hours or Bytes has that unit.

${table(['key', 'flag and variable', 'what it sets', 'rule', 'default'], rows)}

\`UV_THREADPOOL_SIZE\` is read from the environment alone, by Node itself, before any other code runs. It must be at
least \`volumeBudget\` + 8, so that operations that hang on the volume leave threads for everything else. The command
\`longshore\` sets it to 64.

## The tokens file

One line \`name:token\` for each server: the name has 1 to 40 of the characters a-z 0-9 -, the token at least 16
characters without spaces. Blank lines and lines that begin with \`#\` are passed over. The agent reads the file again
when it changes: the new tokens hold at once and the old ones are gone. A file with a broken line changes nothing, and
the log names the line.
`;
}

function metricsPage(): string {
  const rows = Object.entries<MetricRow>(METRICS).map(([name, { type, labels, help, buckets }]) => [
    `\`${name}\``,
    type,
    labels.map((label) => `\`${label}\``).join(', '),
    help + (buckets === undefined ? '' : `; buckets ${buckets.join(', ')}`),
  ]);
  return `# Metrics

\`GET /metrics\` on the address of \`--metrics\`, in the text format of Prometheus, or as OpenMetrics for a scraper that
asks for it. The port takes no token and never touches the volume: it answers while the volume hangs.

Labels are bounded. No ticket, package or server is ever one; those are in the log.

${table(['name', 'type', 'labels', 'what it says'], rows)}

Which area is slow, which one refuses, and why: \`longshore_volume_operation_seconds\` and
\`longshore_volume_operations_total\` by errno for the volume, \`longshore_http_failures_total\` by code for requests,
\`longshore_script_outcomes_total\` by code for scripts. \`longshore_volume_oldest_operation_seconds\` that grows means
that the mount hangs.
`;
}

function failuresPage(): string {
  const codes = Object.keys(FAILURES) as FailureCode[];
  const index = codes.map((code) => {
    const { category, status, exit, retry } = FAILURES[code];
    return [
      `[${code}](#${code.toLowerCase()})`,
      category,
      status === null ? '' : String(status),
      String(exit),
      retry,
    ];
  });
  const sections = codes.map((code) => {
    const { category, status, exit, retry, says } = FAILURES[code];
    const facts = [
      `Category ${category}`,
      status === null ? undefined : `HTTP status ${status}`,
      `exit code ${exit}`,
      `retry ${retry}`,
    ];
    return `## ${code}\n\n${sentence(says)}\n\n${facts.filter(Boolean).join(' · ')}\n\n${FAILURE_ADVICE[code]}\n`;
  });
  return `# Failures

Every way in which a request or a script can end has one code. It is the \`code\` of a problem document and of an
outcome, the label of a metric, and the word in the log. Codes are never renamed and never reused. The agent has this
table too: \`GET /v1/failures\` and \`GET /v1/failures/{code}\`.

- **HTTP status** is what a request is answered with. A code without one only ever ends a script, or a command.
- **exit code** is what \`longshore\` exits with. A script that ran to its end gives its own exit code instead, one that a
  signal ended 128 and the number of the signal.
- **retry** says whether the same may be tried again: \`never\` with this content, \`later\` by a machine, after the seconds
  of \`Retry-After\` where there is one, or when an \`operator\` has done something about it. For an outcome, "again" means
  a new ticket.

${table(['code', 'category', 'HTTP status', 'exit code', 'retry'], index)}

${sections.join('\n')}`;
}

/** The sentence of a row, as one that stands alone. */
export function sentence(says: string): string {
  return `${says.charAt(0).toUpperCase()}${says.slice(1)}.`;
}
