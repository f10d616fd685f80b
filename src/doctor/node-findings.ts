import { milliseconds, percentile, rounded } from './figures.ts';
import type { Finding } from './finding.ts';
import { CHANGES, type Change, type NodeLine, type NodeOrder } from './node-words.ts';
import type { TrialFailure } from './trial-words.ts';
import { failedFinding } from './trouble-findings.ts';
import { exclusiveFinding, permissionFinding } from './volume-findings.ts';

/** What the programs of a run have said so far, by side. */
export type NodeLines = Readonly<Record<NodeOrder['side'], readonly NodeLine[]>>;

const SOON_MS = 1000;

function linesOf<Type extends NodeLine['type']>(
  lines: readonly NodeLine[],
  type: Type,
): Extract<NodeLine, { type: Type }>[] {
  return lines.filter((line): line is Extract<NodeLine, { type: Type }> => line.type === type);
}

/** Judges what the pods said; what they did not come to has no finding. */
export function nodeFindings(lines: NodeLines, here: { seenMs: number; mountOptions?: string }): Finding[] {
  const { left, inside } = lines;
  const failures = [left, lines.right, inside].flatMap((side) => linesOf(side, 'failed'));
  return [
    ...linesOf(left, 'user').map(({ facts }) => permissionFinding('pod-user', facts)),
    ...linesOf(left, 'mount').flatMap(({ options }) => mountFinding(options, here.mountOptions)),
    ...CHANGES.flatMap((change) => changeFinding(change, linesOf(left, 'seen'), here.seenMs)),
    ...linesOf(left, 'whole').map(wholeFinding),
    ...linesOf(left, 'race').map((race) =>
      exclusiveFinding('nodes-exclusive', race, 'from both nodes at once'),
    ),
    ...linesOf(inside, 'inside').map(insideFinding),
    ...failures.slice(0, 1).map(({ failure }) => brokenFinding(failure)),
  ];
}

function mountFinding(there: string, here: string | undefined): Finding[] {
  if (here === undefined)
    return [{ check: 'pod-mount', verdict: 'good', measured: there, says: 'the mount in a pod' }];
  if (here === there)
    return [
      { check: 'pod-mount', verdict: 'good', says: 'a pod has the same mount options as this machine' },
    ];
  return [
    {
      check: 'pod-mount',
      verdict: 'note',
      measured: there,
      says: `a pod has other mount options than the ${here} here`,
      advice:
        'give agent and script pods the same claim: two mounts of an export with different options do not see what the other renames',
    },
  ];
}

const WORDS: Readonly<Record<Change, string>> = {
  create: 'a new file',
  append: 'what was appended and closed',
  rename: 'a file that was replaced by rename',
  delete: 'the removal of a file',
  list: 'a new name in a list',
};

function changeFinding(
  change: Change,
  rounds: readonly { readonly seen: Readonly<Record<Change, number | null>> }[],
  seenMs: number,
): Finding[] {
  if (rounds.length === 0) return [];
  const times = rounds.map(({ seen }) => seen[change]);
  const seen = times.filter((ms) => ms !== null);
  const unseen = times.length - seen.length;
  const [median, longest] = [percentile(seen, 0.5), Math.max(0, ...seen)];
  const found = {
    check: `nodes-${change}` as const,
    measured: seen.length === 0 ? 'never' : `median ${milliseconds(median)}, max ${milliseconds(longest)}`,
    figures: { rounds: times.length, unseen, medianMs: rounded(median), maxMs: rounded(longest) },
  };
  if (unseen > 0)
    return [
      {
        ...found,
        verdict: 'warn',
        says: `${WORDS[change]} was not seen on the other node within ${seenMs / 1000} s, ${unseen} of ${times.length} times`,
        advice:
          'mount with lookupcache=none or actimeo=1: a cancel, a claim or an outcome is seen that much later',
      },
    ];
  const isSoon = longest <= SOON_MS;
  const says = `${WORDS[change]} is seen on the other node within ${milliseconds(longest)}`;
  return [{ ...found, verdict: isSoon ? 'good' : 'note', says }];
}

function wholeFinding({ renames, seen }: Extract<NodeLine, { type: 'whole' }>): Finding {
  const { reads, absent, mixed, stale } = seen;
  const found = {
    check: 'nodes-whole',
    measured: `${renames} renames, ${reads} reads`,
    figures: { renames, ...seen },
  } as const;
  if (mixed > 0)
    return {
      ...found,
      verdict: 'bad',
      says: `the other node read a mix of two versions ${mixed} times`,
      advice: 'do not use this volume: a runner would read half of a script',
    };
  if (absent > 0)
    return {
      ...found,
      verdict: 'warn',
      says: `the other node found no file ${absent} times while it was replaced`,
      advice: 'Longshore looks again before it believes that, which costs time',
    };
  return {
    ...found,
    verdict: stale > 0 ? 'note' : 'good',
    says: `the other node saw every version whole${stale > 0 ? `, with ${stale} stale handles between` : ''}`,
  };
}

function insideFinding({ isThere, entries }: Extract<NodeLine, { type: 'inside' }>): Finding {
  if (isThere)
    return {
      check: 'sub-path',
      verdict: 'good',
      says: 'a pod mounts a folder that the other node has just made',
    };
  return {
    check: 'sub-path',
    verdict: 'bad',
    measured: entries.length === 0 ? 'an empty folder' : entries.join(' '),
    says: 'the kubelet mounted another folder than the one that the other node had made',
    advice:
      'a kubelet makes an empty folder where it sees none yet: mount with lookupcache=none or actimeo=1, or the workspace of a script is missing',
  };
}

/** An error of the volume, or of the two programs with each other: then a network policy may stand between. */
function brokenFinding(failure: TrialFailure): Finding {
  if (failure.errno !== undefined && !NETWORK_ERRORS.test(failure.says))
    return failedFinding('pods', failure);
  return {
    check: 'pods',
    verdict: 'warn',
    says: `the trial between the nodes broke off: ${failure.says}`,
    advice:
      'the two pods talk to each other over TCP: see that no network policy forbids it between pods with the label app.kubernetes.io/component=doctor, and that the claim is one volume on all nodes',
  };
}

const NETWORK_ERRORS = /\bE(CONN\w+|HOSTUNREACH|NETUNREACH|TIMEDOUT|PIPE)\b/;
