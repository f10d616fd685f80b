/** What a run has measured, one row for each script of each scenario, and the table of it. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import type { Seen } from './observation.ts';
import { places } from './places.ts';
import type { Trial } from './trial.ts';

/** Scenario, server and mount, script, outcome, its seconds, verdicts, answers of the mount, and two durations. */
type Row = readonly string[];

const header: Row = [
  ...[
    'scenario',
    'server and mount',
    'script',
    'outcome',
    's after it happened',
    'the agent believed, from second',
  ],
  ...['the mount answered, from second', 's from proof to lost', 's from answer to trusted'],
];

/** Keeps the rows of a trial for the end of the run. */
export function noteRows(lane: string, scenario: string, trial: Trial): void {
  const answers = trial.answers.filter(({ what }, index) => what !== trial.answers[index - 1]?.what);
  for (const { script, outcome, seconds } of trial.ended) {
    const row: Row = [
      ...[scenario, lane, `${script.storage}, ${script.moment}`, outcome.code, round(seconds)],
      ...[told(trial.verdicts), told(answers)],
      ...[round(trial.lostAfterProof), trial.remounted ? 'remounted' : round(trial.trustedAfterAnswer)],
    ];
    appendFileSync(places.rows, `${JSON.stringify(row)}\n`);
  }
}

/** Prints the rows of this run as a table of Markdown. */
export function printTable(): void {
  if (!existsSync(places.rows)) return;
  // Written by noteRow().
  const rows = readFileSync(places.rows, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);
  console.log('');
  for (const row of [header, header.map(() => '---'), ...rows]) console.log(`| ${row.join(' | ')} |`);
}

function told(seen: readonly Seen[]): string {
  return seen.map(({ at, what }) => `${what} ${at.toFixed(0)}`).join(', ');
}

function round(seconds: number | undefined): string {
  return seconds === undefined ? '–' : seconds.toFixed(1);
}
