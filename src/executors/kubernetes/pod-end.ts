import { departureOf } from './pod-departure.ts';
import type { ContainerFacts, PodFacts } from './pod-facts.ts';
import { failedInit, initFinding, lastHindranceOf } from './pod-hindrance.ts';
import { nodeOf, quoted, type Finding, type PodCase } from './pod-trouble.ts';

/** What the kubelet did to a pod, by the reason in the pod's own status. */
type PodEnd = (facts: PodFacts) => Finding;

/** Source: kubernetes v1.34.4 pkg/kubelet: eviction, preemption, nodeshutdown; `Shutdown` is that of 1.20, `NodeLost` older. */
const POD_ENDS: Readonly<Record<string, PodEnd>> = {
  Evicted: (facts) => ({
    code: 'CLUSTER_EVICTED',
    says: `${nodeOf(facts)} evicted the pod${quoted(facts.message)}`,
  }),
  Preempting: (facts) => ({
    code: 'CLUSTER_PREEMPTED',
    says: `${nodeOf(facts)} ended the pod for a critical one${quoted(facts.message)}`,
  }),
  Terminated: shutDown,
  Shutdown: shutDown,
  NodeLost: (facts) => ({
    code: 'CLUSTER_NODE_LOST',
    says: `${nodeOf(facts)} is lost${quoted(facts.message)}`,
  }),
};

/** A node refuses what is bound to it when it has no room left, or is not what the pod asked for; another one may not. */
const NO_ROOM = /^(OutOf|NodeAffinity$|NodeShutdown$|TopologyAffinityError$|VolumeAttachmentLimitExceeded$)/;
/** Source: kubernetes v1.34.4 pkg/kubelet/kubelet.go, rejectPod; lifecycle/predicate.go. */
const REJECTED = /^Pod was rejected\b|^Pod Predicate \S+ failed\b/;

/** How the script's container ended, where the cluster says that and it was not its own doing. */
const CONTAINER_ENDS: Readonly<Record<string, (script: ContainerFacts, facts: PodFacts) => Finding>> = {
  OOMKilled: outOfMemory,
  StartError: notStarted,
  ContainerCannotRun: notStarted,
  // The kubelet's and containerd's words for a container that was there before the node started anew.
  ContainerStatusUnknown: forgotten,
  Unknown: forgotten,
};
const ORDINARY = new Set(['', 'Completed', 'Error']);
const SIGKILL_EXIT = 137;
/** tini's first and only words where it cannot start the runner. Source: tini 0.19, src/tini.c, spawn_process. */
const NO_RUNNER = /^\[FATAL tini \(\d+\)\] exec \S+ failed: /;
const NO_RUNNER_EXITS: readonly (number | undefined)[] = [126, 127];

/** Says why a pod ended, or its container; undefined where the container ended by itself. */
export function endOf(pod: PodCase): Finding | undefined {
  const { facts } = pod;
  const { script } = facts;
  if (facts.reason !== '') return podEnd(pod);
  if (script?.reason === 'OOMKilled' && script.exitCode === SIGKILL_EXIT) return outOfMemory(script, facts);
  const init = failedInit(facts);
  const departure = departureBefore(pod, init ?? script);
  return departure ?? (init ? initFinding(init, facts) : containerEnd(facts));
}

function podEnd(pod: PodCase): Finding {
  const { facts } = pod;
  const { reason, message } = facts;
  if (reason === 'DeadlineExceeded') return deadlineEnd(pod);
  const known = Object.hasOwn(POD_ENDS, reason) ? POD_ENDS[reason] : undefined;
  if (known) return known(facts);
  if (REJECTED.test(message) || NO_ROOM.test(reason)) {
    const says = `${nodeOf(facts)} refused the pod (${reason}), so nothing ran${quoted(message)}`;
    return { code: NO_ROOM.test(reason) ? 'CLUSTER_UNSCHEDULABLE' : 'CLUSTER_POD_REFUSED', says };
  }
  return {
    code: 'CLUSTER_POD_FAILED',
    says: `the pod failed on ${nodeOf(facts)} for a reason that the agent does not know, ${reason}${quoted(message)}`,
  };
}

/** The time limit of the pod holds for pulling and mounting too. */
function deadlineEnd(pod: PodCase): Finding {
  const { script, message } = pod.facts;
  if (script?.wasMade)
    return {
      code: 'SCRIPT_DEADLINE',
      says: `the pod of the script ran into its time limit${quoted(message)}`,
    };
  const late = 'the pod ran into its time limit before its script was started';
  const hindrance = lastHindranceOf(pod);
  return hindrance
    ? { ...hindrance, says: `${late}: ${hindrance.says}` }
    : { code: 'RUNNER_NOT_STARTED', says: `${late}${quoted(message)}` };
}

/** Whoever took the pod away is why it ended, unless it had ended before; both times are whole seconds. */
function departureBefore(pod: PodCase, last: ContainerFacts | undefined): Finding | undefined {
  const departure = departureOf(pod);
  const endedMs = last?.endedMs;
  const isLater = departure?.sinceMs !== undefined && endedMs !== undefined && departure.sinceMs > endedMs;
  return isLater ? undefined : departure;
}

function containerEnd(facts: PodFacts): Finding | undefined {
  const { script, phase } = facts;
  // For a container that was never made the kubelet writes that it ended, too.
  const isNeverMade = script?.reason === 'ContainerStatusUnknown' && !script.wasMade;
  if (script?.state !== 'terminated' || isNeverMade) {
    const says = `the pod ended as ${phase || 'nothing'} on ${nodeOf(facts)}, and the cluster does not say why${quoted(facts.message)}`;
    return { code: 'CLUSTER_POD_FAILED', says };
  }
  const { reason, message, exitCode, restarts } = script;
  const known = Object.hasOwn(CONTAINER_ENDS, reason) ? CONTAINER_ENDS[reason] : undefined;
  if (known) return known(script, facts);
  if (NO_RUNNER_EXITS.includes(exitCode) && NO_RUNNER.test(message)) return notStarted(script, facts);
  if (!ORDINARY.has(reason)) {
    const end = `the container of the script ended with exit code ${exitCode ?? 'unknown'} for a reason that the agent does not know`;
    return { code: 'CLUSTER_POD_FAILED', says: `${end}, ${reason}${quoted(message)}` };
  }
  return restarts > 0 ? forgotten(script, facts) : undefined;
}

function shutDown(facts: PodFacts): Finding {
  return {
    code: 'CLUSTER_NODE_LOST',
    says: `${nodeOf(facts)} was shut down and ended the pod${quoted(facts.message)}`,
  };
}

/**
 * The container is OOMKilled as soon as one of its processes was, in cgroup v1 at least. What ended it shows in its exit
 * code: any but 137 is that of a runner that lived on.
 */
function outOfMemory({ exitCode }: ContainerFacts, { memoryLimit }: PodFacts): Finding {
  const limit =
    memoryLimit === ''
      ? 'it has no limit of its own, so the node had none left'
      : `its limit is ${memoryLimit}`;
  const who =
    exitCode === SIGKILL_EXIT
      ? 'the kernel killed the container of the script for want of memory'
      : `the kernel killed a process of the script for want of memory, and its container ended with exit code ${exitCode ?? 'unknown'}`;
  return { code: 'CLUSTER_OOM', says: `${who}; ${limit}` };
}

function notStarted({ message, exitCode }: ContainerFacts, facts: PodFacts): Finding {
  return {
    code: 'CLUSTER_CONTAINER_REFUSED',
    says: `${nodeOf(facts)} could not start the container of the script (exit code ${exitCode ?? 'unknown'})${quoted(message)}`,
  };
}

function forgotten({ message }: ContainerFacts, facts: PodFacts): Finding {
  return {
    code: 'CLUSTER_NODE_LOST',
    says: `${nodeOf(facts)} lost the container of the script, as it does when it is started anew${quoted(message)}`,
  };
}

/** Whether the exit code of the container is that of its process: where the container was lost, one is made up. */
export function isExitCodeTrue({ reason }: ContainerFacts): boolean {
  return reason !== 'ContainerStatusUnknown' && reason !== 'Unknown';
}
