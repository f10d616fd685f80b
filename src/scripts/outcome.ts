import type { EndRecord } from '../protocol/end-record.ts';
import { FAILURES, type FailureCode } from '../protocol/failure-table.ts';
import type { Outcome } from '../protocol/script-status.ts';

interface OutcomeParts {
  readonly exitCode?: number | null;
  readonly signal?: string | null;
  /** More than the table's sentence, where there is more to say. */
  readonly says?: string;
  readonly evidence?: Readonly<Record<string, unknown>>;
  readonly startedAt?: string | null;
  readonly endedAt: string;
}

/** Makes the outcome of a code of the table. */
export function outcomeOf(code: FailureCode, parts: OutcomeParts): Outcome {
  const { category, retry, says } = FAILURES[code];
  return {
    code,
    category,
    exitCode: parts.exitCode ?? null,
    signal: parts.signal ?? null,
    says: parts.says ?? says,
    retry,
    evidence: parts.evidence ?? {},
    startedAt: parts.startedAt ?? null,
    endedAt: parts.endedAt,
  };
}

/**
 * Says how a script ended, from its authentic end record and from whether the agent was told to cancel it.
 *
 * A script that ended by itself before the cancel reached it ended as it ended. One that was stopped was not
 * successful, whatever code its TERM handler left with (invariant 4).
 */
export function outcomeFrom(end: EndRecord, cancelled: boolean): Outcome {
  const { exitCode, signal, startedAt, endedAt } = end;
  const evidence = { ...evidenceOf(end), ...(cancelled && { cancelled }) };
  const parts = { exitCode, signal, startedAt, endedAt, evidence };
  if (end.fault) return outcomeOf(end.fault.code, { ...parts, says: end.fault.says });
  if (end.stoppedBy === 'deadline') return outcomeOf('SCRIPT_DEADLINE', parts);
  if (end.stoppedBy === 'signal') return outcomeOf(cancelled ? 'SCRIPT_CANCELLED' : 'RUNNER_STOPPED', parts);
  if (signal !== null)
    return outcomeOf('SCRIPT_KILLED', {
      ...parts,
      says: `${signal} ended the script, and nobody here sent it`,
    });
  if (exitCode === 0) return outcomeOf('SUCCEEDED', parts);
  if (exitCode !== null)
    return outcomeOf('SCRIPT_FAILED', { ...parts, says: `the script ended with exit code ${exitCode}` });
  return outcomeOf('RUNNER_LOST', {
    ...parts,
    says: 'the end record names neither an exit code nor a signal',
  });
}

function evidenceOf(end: EndRecord): Record<string, unknown> {
  const {
    lines,
    stdoutBytes,
    stderrBytes,
    journalDigest,
    framesNotOnVolume,
    linesOverLimit,
    leftBehind,
    oomKills,
  } = end;
  return {
    lines,
    stdoutBytes,
    stderrBytes,
    journalDigest,
    framesNotOnVolume,
    linesOverLimit,
    leftBehind,
    oomKills,
  };
}
