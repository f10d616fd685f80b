import { meaningOfErrno, storageFault } from '../mount/errno.ts';
import type { FailureCode } from '../protocol/failure-table.ts';
import { digits, milliseconds, percentile, rounded, size } from './figures.ts';
import type { Finding, Verdict } from './finding.ts';
import { TIMED_CALLS } from './trial-words.ts';
import type { PermissionFacts, TrialFailure, TrialName, Trials } from './trial-words.ts';

type Judge<Name extends TrialName> = (facts: Trials[Name], limits: Limits) => Finding[];

/** What of the settings a finding is measured by. */
export interface Limits {
  readonly reserveBytes: number;
}

const FSYNC_MS = { note: 100, warn: 1000 };
const CALL_MS = { note: 50, warn: 500 };
const LEAST_MIB_PER_SECOND = 10;
const LEAST_FILES_PER_SECOND = 50;

/** Judges the facts of each trial of the volume; pure. */
const JUDGES: { readonly [Name in TrialName]: Judge<Name> } = {
  answers: ({ ms }) => [
    {
      check: 'answers',
      verdict: 'good',
      measured: milliseconds(ms),
      figures: { ms: rounded(ms) },
      says: 'the root of the volume answers',
    },
  ],
  folder: ({ swept }) => [
    {
      check: 'folder',
      verdict: 'good',
      ...(swept > 0 && { measured: `${swept} left ones removed`, figures: { swept } }),
      says: 'this user may make a folder at the root of the volume',
    },
  ],
  rename: (facts) => [renameFinding(facts)],
  exclusive: ({ names, creators, doubled, missing }) => [
    exclusiveFinding('exclusive', { names, doubled, missing }, `${creators} creators at once`),
  ],
  fsync: ({ fileMs, folderMs }) => [fsyncFinding(fileMs, folderMs)],
  'close-to-open': ({ rounds, wrong }) => [
    {
      check: 'close-to-open',
      verdict: wrong === 0 ? 'good' : 'bad',
      measured: `${rounds} times`,
      figures: { rounds, wrong },
      says: wrong === 0 ? 'what was closed is read' : `${wrong} times other bytes were read than were closed`,
      ...(wrong > 0 && { advice: 'do not use this volume: what was staged would not be what runs' }),
    },
  ],
  listing: ({ files, unseen, stillSeen }) => [
    {
      check: 'listing',
      verdict: unseen + stillSeen === 0 ? 'good' : 'bad',
      measured: `${files} files`,
      figures: { files, unseen, stillSeen },
      says:
        unseen + stillSeen === 0
          ? 'a list has what was made, and not what was removed'
          : `${unseen} files were missing in a list, and ${stillSeen} removed ones were in it`,
    },
  ],
  links: ({ refused }) => [
    refused === undefined
      ? { check: 'links', verdict: 'good', says: 'a file takes a second name' }
      : {
          check: 'links',
          verdict: 'note',
          figures: { errno: refused },
          says: 'there are no hard links, so packages are copied into workspaces',
          advice: 'reckon with the room and the time of a copy for each script',
        },
  ],
  permissions: (facts) => [permissionFinding('permissions', facts)],
  space: (facts, limits) => [spaceFinding(facts, limits), throughputFinding(facts)],
  'small-files': ({ files, seconds }) => {
    const rate = files / seconds;
    return [
      {
        check: 'small-files',
        verdict: rate < LEAST_FILES_PER_SECOND ? 'note' : 'good',
        measured: `${digits(rate)} files/s`,
        figures: { files, filesPerSecond: rounded(rate) },
        says: `a workspace of 1000 files takes about ${digits(1000 / rate)} s when they are made one by one`,
        ...(rate < LEAST_FILES_PER_SECOND && { advice: 'send many small files as one package' }),
      },
    ];
  },
  latency: (times) => [latencyFinding(times)],
  cleanup: () => [{ check: 'cleanup', verdict: 'good', says: 'nothing of the doctor is left' }],
};

/** Judges what a trial found. */
export function findingsFor<Name extends TrialName>(
  trial: Name,
  facts: Trials[Name],
  limits: Limits,
): Finding[] {
  return JUDGES[trial](facts, limits);
}

/** The finding of a check that met an error of the volume. */
export function failedFinding(check: Finding['check'], { says, errno }: TrialFailure): Finding {
  const error = Object.assign(new Error(says), errno === undefined ? {} : { errno });
  return {
    check,
    verdict: 'bad',
    says: `the volume answered with an error: ${says}`,
    code: storageFault(check, '', error).code,
    ...adviceFor(errno),
  };
}

/** The finding of a check that did not come back. */
export function hangingFinding(check: Finding['check'], deadlineMs: number): Finding {
  return {
    check,
    verdict: 'hangs',
    measured: `more than ${deadlineMs / 1000} s`,
    says: 'a call did not come back in time',
    code: 'STORAGE_TIMEOUT' satisfies FailureCode,
    advice:
      'look at the server of the volume and the way to it; a soft mount answers after a while, a hard one never',
  };
}

function adviceFor(errno: number | undefined): { readonly advice?: string } {
  const advice = {
    full: 'free some space, or raise the quota',
    readonly: 'mount it for writing, and look whether its server made it read-only after an error',
    denied: 'let the user of the agent write to the root of the volume',
    stale: 'mount it anew: this mount is of a volume that is not there any more',
    unavailable: 'look at the server of the volume and the way to it',
    absent: undefined,
    exists: undefined,
    unknown: undefined,
  }[meaningOfErrno(errno ?? 0)];
  return advice === undefined ? {} : { advice };
}

function renameFinding({ renames, reads, isLast, absent, mixed, stale }: Trials['rename']): Finding {
  const broken = absent + mixed > 0 || !isLast;
  const wrong = isLast
    ? `a reader found no file ${absent} times, and a mix of two ${mixed} times`
    : 'the name does not hold what was renamed to it last';
  const good =
    stale > 0 ? `every version was whole, with ${stale} stale handles between` : 'every version was whole';
  return {
    check: 'rename',
    verdict: broken ? 'bad' : stale > 0 ? 'note' : 'good',
    measured: `${renames} renames, ${reads} reads`,
    figures: { renames, reads, absent, mixed, stale },
    says: broken ? wrong : good,
    ...(broken && { advice: 'do not use this volume: a reader would see half of a script' }),
  };
}

/** The finding of a race for names, on one node or between two. */
export function exclusiveFinding(
  check: 'exclusive' | 'nodes-exclusive',
  { names, doubled, missing }: { names: number; doubled: number; missing: number },
  how: string,
): Finding {
  const isGood = doubled + missing === 0;
  return {
    check,
    verdict: isGood ? 'good' : 'bad',
    measured: `${names} names, ${how}`,
    figures: { names, doubled, missing },
    says: isGood
      ? 'exactly one made each name'
      : `${doubled} names were made by more than one, and ${missing} by nobody`,
    ...(!isGood && { advice: 'do not use this volume: a script could run twice' }),
  };
}

function fsyncFinding(fileMs: readonly number[], folderMs: readonly number[]): Finding {
  const [file, folder] = [percentile(fileMs, 0.5), percentile(folderMs, 0.5)];
  const slowest = Math.max(file, folder);
  const verdict = stepOf(slowest, FSYNC_MS);
  return {
    check: 'fsync',
    verdict,
    measured: `file ${milliseconds(file)}, folder ${milliseconds(folder)}`,
    figures: { fileMs: rounded(file), folderMs: rounded(folder), rounds: fileMs.length },
    says:
      verdict === 'good' ? 'it returns without an error' : 'it is slow, and a start waits for a few of them',
    ...(verdict !== 'good' && {
      advice: 'look at the disk behind the server, and at its export: sync is right, and needs a quick disk',
    }),
  };
}

function stepOf(value: number, steps: { readonly note: number; readonly warn: number }): Verdict {
  if (value > steps.warn) return 'warn';
  return value > steps.note ? 'note' : 'good';
}

/** The finding about whose files they are, here or in a pod. */
export function permissionFinding(
  check: 'permissions' | 'pod-user',
  { uid, gid, ownerUid, ownerGid, mode }: PermissionFacts,
): Finding {
  const found = { check, measured: `user ${uid}:${gid}`, figures: { uid, gid, ownerUid, ownerGid, mode } };
  if (ownerUid !== uid)
    return {
      ...found,
      verdict: 'note',
      says: `files of this user belong to ${ownerUid}:${ownerGid} on the server, and it may write, read and remove them`,
      advice:
        "see that the server does so for the users of the agent and of script pods alike: they need each other's files",
    };
  if (mode !== 0o444)
    return {
      ...found,
      verdict: 'note',
      says: `a file that was made read-only has the mode ${mode.toString(8).padStart(4, '0')}`,
      advice: 'modes do not keep a script from changing a package here; in a pod its mount does',
    };
  return {
    ...found,
    verdict: 'good',
    says: 'this user writes, makes read-only, reads and removes its files',
  };
}

function spaceFinding(
  { bytes, freeBefore, freeFull, freeAfter }: Trials['space'],
  { reserveBytes }: Limits,
): Finding {
  const half = bytes / 2;
  const isHonest = freeBefore - freeFull >= half && freeAfter - freeFull >= half;
  const found = {
    check: 'space',
    measured: `${size(freeAfter)} free`,
    figures: { bytes, freeBefore, freeFull, freeAfter },
  } as const;
  if (freeAfter < reserveBytes)
    return {
      ...found,
      verdict: 'warn',
      says: `less is free than the ${size(reserveBytes)} of volumeReserveBytes, so uploads are refused`,
      code: 'STORAGE_FULL',
      advice: 'free some space, or raise the quota',
    };
  if (isHonest)
    return { ...found, verdict: 'good', says: 'the free space follows what is written and removed' };
  return {
    ...found,
    verdict: 'note',
    says: `the free space did not follow ${size(bytes)} that were written and removed`,
    advice:
      'it may be that of a whole server or of a quota that is not shown: watch that one, since volumeReserveBytes cannot protect running scripts here',
  };
}

function throughputFinding({ bytes, seconds }: Trials['space']): Finding {
  const rate = bytes / seconds / 2 ** 20;
  return {
    check: 'throughput',
    verdict: rate < LEAST_MIB_PER_SECOND ? 'note' : 'good',
    measured: `${digits(rate)} MiB/s`,
    figures: { mibPerSecond: rounded(rate), bytes },
    says: `a package of 1 GiB takes about ${digits(1024 / rate)} s to be written`,
  };
}

function latencyFinding(times: Trials['latency']): Finding {
  const figures: Record<string, number> = {};
  const words = TIMED_CALLS.map((call) => {
    const [p50, p99] = [percentile(times[call], 0.5), percentile(times[call], 0.99)];
    figures[`${call}P50Ms`] = rounded(p50);
    figures[`${call}P99Ms`] = rounded(p99);
    return `${call} ${digits(p50)}/${digits(p99)}`;
  });
  const slowest = Math.max(...TIMED_CALLS.map((call) => percentile(times[call], 0.5)));
  const verdict = stepOf(slowest, CALL_MS);
  return {
    check: 'latency',
    verdict,
    measured: `${words.join(', ')} ms`,
    figures,
    says: 'half of the calls and 99 of 100 are back within these times',
    ...(verdict !== 'good' && {
      advice:
        'a start makes some tens of them one after the other: bring agent, pods and server closer together',
    }),
  };
}
