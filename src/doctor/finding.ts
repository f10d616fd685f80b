import { FAILURES, type FailureCode } from '../protocol/failure-table.ts';
import type { CheckName } from './check-list.ts';

/** What a check found, from good to worst. `hangs` is a call that did not come back in time. */
export const VERDICTS = ['good', 'note', 'warn', 'bad', 'hangs'] as const;
export type Verdict = (typeof VERDICTS)[number];

/** The result of one check. */
export interface Finding {
  readonly check: CheckName;
  readonly verdict: Verdict;
  /** One sentence, without its full stop. */
  readonly says: string;
  /** What was measured, for people. */
  readonly measured?: string;
  /** The same for machines; the unit is in each name. */
  readonly figures?: Readonly<Record<string, number>>;
  /** What to do, and why. */
  readonly advice?: string;
  /** What Longshore would call it. */
  readonly code?: FailureCode;
}

/** What `longshore doctor` exits with, by the worst verdict. Good and note are both fine. */
export const EXIT_CODES: Readonly<Record<Verdict, number>> = {
  good: 0,
  note: 0,
  warn: 1,
  bad: FAILURES.STORAGE_ERROR.exit,
  hangs: FAILURES.STORAGE_TIMEOUT.exit,
};

/** Returns the worst verdict of all, `good` where there is none. */
export function worstOf(findings: readonly Finding[]): Verdict {
  const worst = Math.max(0, ...findings.map(({ verdict }) => VERDICTS.indexOf(verdict)));
  return VERDICTS[worst] ?? 'hangs';
}
