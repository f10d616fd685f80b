/** What a run has measured, one row for each script of each scenario, and the table of it. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { places } from './places.ts';

export interface ScenarioRow {
  readonly scenario: string;
  /** Server and mount. */
  readonly lane: string;
  readonly storage: string;
  readonly moment: string;
  readonly outcome: string;
  /** From what happened to the storage; undefined where it never came. */
  readonly verdict: string;
  readonly outcomeSeconds: number | undefined;
  readonly trustedSeconds: number | undefined;
}

/** Keeps a row for the end of the run. */
export function noteRow(row: ScenarioRow): void {
  appendFileSync(places.rows, `${JSON.stringify(row)}\n`);
}

const seconds = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(0));

/** Prints the rows of this run as a table of Markdown. */
export function printTable(): void {
  if (!existsSync(places.rows)) return;
  console.log(
    '\n| scenario | server and mount | storage | moment | outcome | after s | verdicts | trusted again after s |',
  );
  console.log('|---|---|---|---|---|---|---|---|');
  for (const line of readFileSync(places.rows, 'utf8').trim().split('\n')) {
    // Written by noteRow().
    const row = JSON.parse(line) as ScenarioRow;
    const cells = [
      ...[row.scenario, row.lane, row.storage, row.moment, row.outcome],
      ...[seconds(row.outcomeSeconds), row.verdict, seconds(row.trustedSeconds)],
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
}
