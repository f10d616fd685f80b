import type {
  Answered,
  CanarySeen,
  EpochAnswer,
  Failed,
  Missed,
  ProbeSeen,
} from '../protocol/mount-evidence.ts';
import { errnoNameOf, meaningOfErrno } from './errno.ts';
import type { ProbeReport, ProbeStep } from './probe-words.ts';

const MAX_EPOCH_LENGTH = 64;

/** What a probe for liveness says of the mount; undefined where the volume was not asked. */
export function probeSeen(report: ProbeReport, atMs: number): ProbeSeen | undefined {
  if (report.end === 'none') return undefined;
  const missed = missedAfter(report);
  const root = rootAnswer(report.steps) ?? missed;
  const epoch = report.steps.find(({ step }) => step === 'epoch');
  if (epoch) return { kind: 'probe', atMs, root, epoch: epochAnswer(epoch) };
  return { kind: 'probe', atMs, root, epoch: root.is === 'missed' ? { is: 'unasked' } : missed };
}

/** What a canary says of the mount; undefined where the volume was not asked. */
export function canarySeen(report: ProbeReport, atMs: number): CanarySeen | undefined {
  if (report.end === 'none') return undefined;
  const seen = (answer: CanarySeen['answer']): CanarySeen => ({ kind: 'canary', atMs, answer });
  // What sweeping met is no answer to whether the volume takes bytes.
  const wrong = report.steps.find(({ step, says }) => step !== 'sweep' && says !== undefined);
  if (wrong) return seen(failed(wrong) ?? { is: 'differs', says: wrong.says ?? '' });
  return seen(report.steps.some(({ step }) => step === 'read') ? { is: 'ok' } : missedAfter(report));
}

function rootAnswer(steps: readonly ProbeStep[]): Answered | Failed | undefined {
  const looks = steps.filter(({ step }) => step === 'statfs' || step === 'list');
  if (looks.some(({ says }) => says === undefined)) return { is: 'ok' };
  const statfs = looks.find(({ step }) => step === 'statfs');
  // After a statfs that failed comes a listing: without one, the listing is what hangs.
  return statfs && looks.length > 1 ? failed(statfs) : undefined;
}

function epochAnswer(step: ProbeStep): EpochAnswer {
  const { text, errno } = step;
  if (text !== undefined) {
    const epoch = text.replace(/\n$/, '').slice(0, MAX_EPOCH_LENGTH);
    return text === '' ? { is: 'empty' } : { is: 'read', epoch };
  }
  if (errno !== undefined && meaningOfErrno(errno) === 'absent') return { is: 'absent' };
  // A read that fails without a number is a bug of ours, and proves nothing.
  return failed(step) ?? { is: 'empty' };
}

function failed({ errno }: ProbeStep): Failed | undefined {
  return errno === undefined ? undefined : { is: 'errno', number: errno, name: errnoNameOf(errno) };
}

function missedAfter({ seconds }: ProbeReport): Missed {
  return { is: 'missed', afterMs: Math.round(seconds * 1000) };
}
