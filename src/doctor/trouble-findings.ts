import { meaningOfErrno, storageFault, type ErrnoMeaning } from '../mount/errno.ts';
import type { Finding } from './finding.ts';
import type { TrialFailure } from './trial-words.ts';

const ADVICE: Readonly<Partial<Record<ErrnoMeaning, string>>> = {
  full: 'free some space, or raise the quota',
  readonly: 'mount it for writing, and look whether its server made it read-only after an error',
  denied: 'let the user of the agent write to the root of the volume',
  stale: 'mount it anew: this mount is of a volume that is not there any more',
  unavailable: 'look at the server of the volume and the way to it',
};

/** The finding of a check that met an error of the volume. */
export function failedFinding(check: Finding['check'], { says, errno }: TrialFailure): Finding {
  const error = Object.assign(new Error(says), errno === undefined ? {} : { errno });
  const advice = ADVICE[meaningOfErrno(errno ?? 0)];
  return {
    check,
    verdict: 'bad',
    says: `the volume answered with an error: ${says}`,
    code: storageFault(check, '', error).code,
    ...(advice !== undefined && { advice }),
  };
}

/** The finding of a check that did not come back. */
export function hangingFinding(check: Finding['check'], deadlineMs: number): Finding {
  return {
    check,
    verdict: 'hangs',
    measured: `more than ${deadlineMs / 1000} s`,
    says: 'a call did not come back in time',
    code: 'STORAGE_TIMEOUT',
    advice:
      'look at the server of the volume and the way to it; a soft mount answers after a while, a hard one never',
  };
}
