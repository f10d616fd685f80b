import type { FailureCode } from '../../protocol/failure-table.ts';
import { conditionIn, type ConditionFacts, type PodFacts } from './pod-facts.ts';
import { nodeOf, quoted, type Finding, type PodCase } from './pod-trouble.ts';

/** Who takes a pod away, by the reason of its condition DisruptionTarget. */
type Disruption = (words: string, facts: PodFacts) => readonly [FailureCode, string];

/** Source: kubernetes v1.34.4, the writers of DisruptionTarget in pkg/scheduler, pkg/registry, pkg/controller. */
const DISRUPTIONS: Readonly<Record<string, Disruption>> = {
  PreemptionByScheduler: (words) => [
    'CLUSTER_PREEMPTED',
    `the scheduler took the pod away for one of higher priority${words}`,
  ],
  EvictionByEvictionAPI: (words, facts) => [
    'CLUSTER_EVICTED',
    `somebody evicted the pod from ${nodeOf(facts)} through the API, as a drain of the node does${words}`,
  ],
  DeletionByTaintManager: (words, facts) =>
    isNodeSilent(facts)
      ? [
          'CLUSTER_NODE_LOST',
          `${nodeOf(facts)} does not report any more, and the pod on it was given up${words}`,
        ]
      : ['CLUSTER_EVICTED', `a taint of ${nodeOf(facts)} drove the pod away${words}`],
  DeletionByDeviceTaintManager: (words, facts) => [
    'CLUSTER_EVICTED',
    `a taint of a device on ${nodeOf(facts)} drove the pod away${words}`,
  ],
  DeletionByPodGC: (words, facts) => [
    'CLUSTER_NODE_LOST',
    `${nodeOf(facts)} is gone from the cluster${words}`,
  ],
  TerminationByKubelet: (words, facts) => [kubeletCode(words), `${nodeOf(facts)} ended the pod${words}`],
};

/** The kubelet has one reason for three things, and tells them apart in its words only. */
function kubeletCode(words: string): FailureCode {
  if (/node shutdown/i.test(words)) return 'CLUSTER_NODE_LOST';
  return /preempted/i.test(words) ? 'CLUSTER_PREEMPTED' : 'CLUSTER_EVICTED';
}

/** Says who is taking the pod away, or has done so; undefined where nobody is. */
export function departureOf({ facts }: PodCase): Finding | undefined {
  const disruption = conditionIn(facts, 'DisruptionTarget');
  if (disruption?.status === 'True') return disruptionFinding(disruption, facts);
  const { deletedMs } = facts;
  if (deletedMs === undefined) return undefined;
  const known = { sinceMs: deletedMs };
  return isNodeSilent(facts)
    ? { code: 'CLUSTER_NODE_LOST', says: `${silence(facts)}, and somebody deleted the pod`, ...known }
    : { code: 'CLUSTER_POD_DELETED', says: `somebody deleted the pod on ${nodeOf(facts)}`, ...known };
}

function disruptionFinding({ reason, message, sinceMs }: ConditionFacts, facts: PodFacts): Finding {
  const known = Object.hasOwn(DISRUPTIONS, reason) ? DISRUPTIONS[reason] : undefined;
  const unknown = `the cluster takes the pod away for a reason that the agent does not know, ${reason || 'and names none'}`;
  const [code, says] = known?.(quoted(message), facts) ?? [
    'CLUSTER_POD_FAILED' as const,
    `${unknown}${quoted(message)}`,
  ];
  return { code, says, sinceMs };
}

/** What is in doubt about a pod that runs and that nobody takes away. */
export function doubtOf({ facts }: PodCase): Finding | undefined {
  if (isNodeSilent(facts)) {
    const sinceMs = conditionIn(facts, 'Ready')?.sinceMs;
    return { code: 'CLUSTER_NODE_LOST', says: `${silence(facts)}; the script may still run there`, sinceMs };
  }
  if (facts.reason === 'NodeLost' || facts.phase === 'Unknown')
    return { code: 'CLUSTER_NODE_LOST', says: `${silence(facts)}${quoted(facts.message)}` };
  return undefined;
}

function silence(facts: PodFacts): string {
  return `${nodeOf(facts)} does not report any more`;
}

/**
 * Whether the node of a running pod is silent: then the node controller makes Ready false, and what the kubelet wrote
 * last stays as it was, so that the containers go on being ready in a pod that is not.
 *
 * Source: kubernetes v1.34.4 pkg/controller/util/node/controller_utils.go, MarkPodsNotReady.
 */
export function isNodeSilent(facts: PodFacts): boolean {
  const ready = conditionIn(facts, 'Ready');
  return (
    facts.script?.state === 'running' &&
    ready?.status === 'False' &&
    ready.reason !== 'ReadinessGatesNotReady' &&
    conditionIn(facts, 'ContainersReady')?.status === 'True'
  );
}
