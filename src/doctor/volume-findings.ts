import { milliseconds, rounded, size } from './figures.ts';
import type { Finding } from './finding.ts';
import { fsyncFinding, latencyFinding, smallFilesFinding, throughputFinding } from './speed-findings.ts';
import type { PermissionFacts, TrialName, Trials } from './trial-words.ts';

type Judge<Name extends TrialName> = (facts: Trials[Name], limits: Limits) => Finding[];

/** What of the settings a finding is measured by. */
export interface Limits {
  readonly reserveBytes: number;
}

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
  fsync: (facts) => [fsyncFinding(facts)],
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
  'small-files': (facts) => [smallFilesFinding(facts)],
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
