import { cpus } from 'node:os';
import type { BenchResult } from './bench-result.ts';

/** One benchmark as a section of a page. */
export function sectionFor({ name, goal, rows, met, notes }: BenchResult): string {
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

/** A page of them; `command` is what writes it. */
export function pageFor(title: string, command: string, results: readonly BenchResult[]): string {
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`;
  const head = [
    `# ${title}`,
    '',
    `Written by \`${command}\`, all axes, the bad ones too. Rivals are measured in the same run on the same machine,`,
    'and ratios are what counts: machines are noisy, and no test is timed.',
    '',
    `Machine: ${machine}.`,
    '',
  ];
  return [...head, ...results.map(sectionFor)].join('\n');
}

function format(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}
