import type { Trouble } from '../executors/executor.ts';
import type { EndRecord } from '../protocol/end-record.ts';
import { FAILURES, isFailureCode, type FailureCode } from '../protocol/failure-table.ts';
import type { StartedClaim } from '../protocol/run-order.ts';
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

/** Makes the outcome of a script that an agent kept from running, from the claim that it made for that. */
export function preventedOutcome(
  { reason, says, evidence }: Omit<StartedClaim & { by: 'agent' }, 'by' | 'at'>,
  endedAt: Date,
): Outcome {
  const code = isFailureCode(reason) ? reason : 'RUNNER_NOT_STARTED';
  const known = { ...(says !== undefined && { says }), ...(evidence && { evidence }) };
  return outcomeOf(code, { endedAt: endedAt.toISOString(), ...known });
}

/** What is known beside the end record. */
export interface Around {
  readonly cancelled: boolean;
  /** What happened to the pod, where it ended otherwise than by itself. */
  readonly trouble: Trouble | undefined;
  /** The memory that the kernel counts is that of this script alone. */
  readonly inPod: boolean;
}

/**
 * Says how a script ended, from its authentic end record and from whether the agent was told to cancel it.
 *
 * A script that ended by itself before the cancel reached it ended as it ended. One that was stopped was not
 * successful, whatever code its TERM handler left with (invariant 4).
 */
export function outcomeFrom(end: EndRecord, around: Around): Outcome {
  const { exitCode, signal, startedAt, endedAt } = end;
  const { cancelled, trouble } = around;
  const evidence = {
    ...evidenceOf(end),
    ...(cancelled && { cancelled }),
    ...(trouble && { pod: trouble.evidence }),
  };
  const parts = { exitCode, signal, startedAt, endedAt, evidence };
  if (end.fault) return outcomeOf(end.fault.code, { ...parts, says: end.fault.says });
  if (end.stoppedBy === 'deadline') return outcomeOf('SCRIPT_DEADLINE', parts);
  if (end.stoppedBy === 'signal') {
    if (cancelled || !trouble) return outcomeOf(cancelled ? 'SCRIPT_CANCELLED' : 'RUNNER_STOPPED', parts);
    // The pod was told to go, and the runner lived to write that it was.
    return outcomeOf(trouble.code, { ...parts, says: trouble.says });
  }
  if (signal === 'SIGKILL' && around.inPod && oomKillsOf(end) > 0)
    return outcomeOf('CLUSTER_OOM', { ...parts, says: `${FAILURES.CLUSTER_OOM.says}${oomNote(end)}` });
  if (signal !== null)
    return outcomeOf('SCRIPT_KILLED', {
      ...parts,
      says: `${signal} ended the script, and nobody here sent it${oomNote(end)}`,
    });
  if (exitCode === 0)
    return outcomeOf('SUCCEEDED', { ...parts, says: `${FAILURES.SUCCEEDED.says}${oomNote(end)}` });
  if (exitCode !== null)
    return outcomeOf('SCRIPT_FAILED', {
      ...parts,
      says: `the script ended with exit code ${exitCode}${oomNote(end)}`,
    });
  return outcomeOf('RUNNER_LOST', {
    ...parts,
    says: 'the end record names neither an exit code nor a signal',
  });
}

function oomKillsOf({ oomKills }: EndRecord): number {
  return oomKills ?? 0;
}

/** A child that was killed for memory often is why a script fails that does not know it. */
function oomNote(end: EndRecord): string {
  const kills = oomKillsOf(end);
  if (kills === 0) return '';
  return `; the kernel killed ${kills === 1 ? 'a process' : `${kills} processes`} for want of memory while it ran`;
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
    notCollected,
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
    ...(notCollected && { notCollected }),
  };
}
