import { CHECKS, type CheckName } from './check-list.ts';
import { EXIT_CODES, VERDICTS, worstOf, type Finding, type Verdict } from './finding.ts';

/** All that a doctor found, as `--json` prints it. */
export interface Report {
  readonly version: 1;
  readonly volume: string;
  readonly startedAt: string;
  readonly seconds: number;
  /** The worst one. */
  readonly verdict: Verdict;
  readonly exitCode: number;
  readonly findings: readonly Finding[];
}

const ORDER = Object.keys(CHECKS) as CheckName[];
const WIDE = 100;

export function reportOf(
  findings: readonly Finding[],
  { volume, startedAtMs, seconds }: { volume: string; startedAtMs: number; seconds: number },
): Report {
  const verdict = worstOf(findings);
  return {
    version: 1,
    volume,
    startedAt: new Date(startedAtMs).toISOString(),
    seconds: Math.round(seconds * 10) / 10,
    verdict,
    exitCode: EXIT_CODES[verdict],
    findings: findings.toSorted((a, b) => ORDER.indexOf(a.check) - ORDER.indexOf(b.check)),
  };
}

/** Renders a report for people: a line or a few for each check, and the sum. */
export function reportText(report: Report): string {
  const { findings, verdict, seconds, volume } = report;
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap((finding) => findingLines(finding, width));
  const counts = VERDICTS.map(
    (one) => [one, findings.filter((found) => found.verdict === one).length] as const,
  );
  const sum = counts.flatMap(([one, count]) => (count > 0 ? [`${count} ${one}`] : [])).join(', ');
  return [volume, '', ...lines, '', `${verdict}: ${sum}; ${seconds} s`].join('\n');
}

function findingLines({ check, verdict, says, measured, advice, code }: Finding, width: number): string[] {
  const head = `${verdict.padEnd(5)}  ${check.padEnd(width)}  `;
  const indent = ' '.repeat(head.length);
  const sentence = code === undefined ? says : `${says} (${code})`;
  const [first = '', ...rest] = wrapped(sentence, WIDE - head.length);
  return [
    head + first,
    ...rest.map((line) => indent + line),
    ...wrapped(measured ?? '', WIDE - head.length).map((line) => indent + line),
    ...wrapped(advice === undefined ? '' : `▸ ${advice}`, WIDE - head.length).map((line) => indent + line),
  ];
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ').filter((one) => one !== '')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
