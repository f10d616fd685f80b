import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import type { BenchResult } from './bench-result.ts';

/** `npm run bench` runs all and writes the page; `npm run bench -- start journal` runs those and only prints. */
const BENCHES = ['upload', 'small-files', 'start', 'journal', 'footprint'] as const;
const PAGE = 'docs/reference/benchmarks.md';

const LOADERS: Readonly<
  Record<(typeof BENCHES)[number], () => Promise<{ run: () => Promise<BenchResult> }>>
> = {
  upload: () => import('./upload.ts'),
  'small-files': () => import('./small-files.ts'),
  start: () => import('./start.ts'),
  journal: () => import('./journal.ts'),
  footprint: () => import('./footprint.ts'),
};

function format(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}

function sectionFor({ name, goal, rows, met, notes }: BenchResult): string {
  const table = rows.map(({ label, value, unit }) => `| ${label} | ${format(value)} ${unit} |`);
  const verdict = `Goal: ${goal}. **${met ? 'Met' : 'Not met'}** in this run.`;
  return [
    `## ${name}`,
    '',
    verdict,
    '',
    '| what | figure |',
    '|---|---|',
    ...table,
    '',
    ...(notes ?? []).map((note) => `- ${note}`),
    '',
  ].join('\n');
}

function pageFor(results: readonly BenchResult[]): string {
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`;
  const head = [
    '# Benchmarks',
    '',
    'Written by `npm run bench`, all axes, the bad ones too. Rivals are measured in the same run on the same disk,',
    'and ratios are what counts: machines are noisy, and no test is timed.',
    '',
    `Machine: ${machine}.`,
    '',
  ];
  return [...head, ...results.map(sectionFor)].join('\n');
}

const asked = process.argv.slice(2);
const results: BenchResult[] = [];
for (const name of BENCHES) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  process.stdout.write(`${name} …\n`);
  const result = await (await LOADERS[name]()).run();
  results.push(result);
  process.stdout.write(`${sectionFor(result)}\n`);
}
if (asked.length === 0) writeFileSync(PAGE, pageFor(results));
