import type { FailureCode } from '../../protocol/failure-table.ts';
import type { PodEvent } from './pod-event.ts';
import { conditionIn, type ContainerFacts, type PodFacts } from './pod-facts.ts';
import { nodeOf, quoted, type Finding, type PodCase } from './pod-trouble.ts';

/** What a kubelet waits for, by the reason of the waiting container. */
type Wait = (container: ContainerFacts, facts: PodFacts) => Finding;

const noImage: Wait = ({ image, message }, facts) => ({
  code: 'CLUSTER_IMAGE_MISSING',
  says: `${nodeOf(facts)} cannot fetch the image ${image} and tries again${quoted(message)}`,
});

const noContainer: Wait = ({ name, reason, message }, facts) => ({
  code: 'CLUSTER_CONTAINER_REFUSED',
  says: `${nodeOf(facts)} cannot make or start the container ${name} (${reason})${quoted(message)}`,
});

/** Source: kubernetes v1.34.4 pkg/kubelet/images/types.go, kuberuntime/kuberuntime_container.go, container/sync_result.go. */
const WAITS: Readonly<Record<string, Wait>> = {
  ErrImagePull: noImage,
  ImagePullBackOff: noImage,
  ImageInspectError: noImage,
  RegistryUnavailable: noImage,
  SignatureValidationFailed: noImage,
  ErrImageNeverPull: ({ image, message }, facts) => ({
    code: 'CLUSTER_IMAGE_MISSING',
    says: `${nodeOf(facts)} does not have the image ${image}, and the pull policy keeps it from fetching it${quoted(message)}`,
    final: true,
  }),
  InvalidImageName: ({ image, message }) => ({
    code: 'CLUSTER_IMAGE_INVALID',
    says: `${image || 'the image'} is no name of an image${quoted(message)}`,
    final: true,
  }),
  CreateContainerConfigError: (container, facts) => {
    // subPath mounts are made at this point, so a sick volume shows here and not as a failed mount.
    if (/\bsub-?path\b/i.test(container.message))
      return { ...noContainer(container, facts), code: 'CLUSTER_MOUNT_FAILED' };
    return { ...noContainer(container, facts), final: /\brunAsNonRoot\b/.test(container.message) };
  },
  CreateContainerError: noContainer,
  PreCreateHookError: noContainer,
  PreStartHookError: noContainer,
  PostStartHookError: noContainer,
  RunContainerError: noContainer,
  CreatePodSandboxError: noContainer,
  ConfigPodSandboxError: noContainer,
  RROUnsupported: noContainer,
  ImageVolumeMountFailed: (container, facts) => ({
    ...noContainer(container, facts),
    code: 'CLUSTER_MOUNT_FAILED',
  }),
};

/** The container waits for its turn or for the kubelet, which says more in its events. */
const NO_REASON_YET = new Set(['', 'ContainerCreating', 'PodInitializing']);

const EVENTS: Readonly<Record<string, readonly [FailureCode, string]>> = {
  FailedMount: ['CLUSTER_MOUNT_FAILED', 'cannot mount a volume of the pod'],
  FailedAttachVolume: ['CLUSTER_MOUNT_FAILED', 'does not get a volume of the pod attached'],
  FailedMapVolume: ['CLUSTER_MOUNT_FAILED', 'cannot map a volume of the pod'],
  FailedMountOnFilesystemMismatch: ['CLUSTER_MOUNT_FAILED', 'cannot mount a volume of the pod'],
  FailedCreatePodSandBox: ['CLUSTER_CONTAINER_REFUSED', 'cannot make the sandbox of the pod'],
  FailedCreatePodContainer: ['CLUSTER_CONTAINER_REFUSED', 'cannot make the cgroup of the pod'],
  FailedPrepareDynamicResources: ['CLUSTER_CONTAINER_REFUSED', 'cannot prepare a device of the pod'],
  NetworkNotReady: ['CLUSTER_CONTAINER_REFUSED', 'has no network for the pod'],
  NodeNotReady: ['CLUSTER_NODE_LOST', 'does not report any more'],
};

/** A pod that has come this far is mounted and has its sandbox. */
const STEPS = new Set(['Pulling', 'Pulled', 'Created', 'Started']);

/** While a pod waits, its status says these, and better; when it was ended, only the events still know. */
const EVENTS_OF_ENDED: typeof EVENTS = {
  ...EVENTS,
  ErrImageNeverPull: ['CLUSTER_IMAGE_MISSING', 'does not have an image of the pod, and may not fetch it'],
  InspectFailed: ['CLUSTER_IMAGE_INVALID', 'cannot read the name of an image of the pod'],
  BackOff: ['CLUSTER_IMAGE_MISSING', 'cannot fetch an image of the pod'],
};

/** Says what keeps a pod from running its script; undefined where nothing is known to. */
export function hindranceOf(pod: PodCase): Finding | undefined {
  return statusHindrance(pod.facts) ?? eventHindrance(pod, EVENTS);
}

/** Says what kept a pod from running its script until it was ended. */
export function lastHindranceOf(pod: PodCase): Finding | undefined {
  return statusHindrance(pod.facts) ?? eventHindrance(pod, EVENTS_OF_ENDED);
}

function statusHindrance(facts: PodFacts): Finding | undefined {
  return schedulingHindrance(facts) ?? containerHindrance(facts);
}

function schedulingHindrance(facts: PodFacts): Finding | undefined {
  const scheduled = conditionIn(facts, 'PodScheduled');
  if (scheduled?.status !== 'False') return undefined;
  const { reason, message, sinceMs } = scheduled;
  if (isAboutClaim(message))
    return {
      code: 'CLUSTER_CLAIM_UNBOUND',
      says: `the pod waits for its volume claim${quoted(message)}`,
      sinceMs,
    };
  const gated = reason === 'SchedulingGated' ? ' because of its scheduling gates' : '';
  return { code: 'CLUSTER_UNSCHEDULABLE', says: `no node takes the pod${gated}${quoted(message)}`, sinceMs };
}

/**
 * Whether the scheduler speaks of a claim that is missing, unbound or lost.
 *
 * Where it counts nodes, only when all of them lack a volume to bind: otherwise other reasons are as good.
 */
function isAboutClaim(message: string): boolean {
  return (
    /\bpersistentvolumeclaim "|unbound immediate PersistentVolumeClaims|bound to non-existent pv/i.test(
      message,
    ) ||
    /^0\/(\d+) nodes are available: \1 node\(s\) didn't find available persistent volumes to bind/.test(
      message,
    )
  );
}

function containerHindrance(facts: PodFacts): Finding | undefined {
  const failed = failedInit(facts);
  if (failed) return initFinding(failed, facts);
  const waiting = [...facts.initContainers, ...(facts.script ? [facts.script] : [])].find(
    ({ state, reason }) => state === 'waiting' && !NO_REASON_YET.has(reason),
  );
  if (waiting === undefined) return undefined;
  const known = Object.hasOwn(WAITS, waiting.reason) ? WAITS[waiting.reason] : undefined;
  const sinceMs = conditionIn(facts, 'PodScheduled')?.sinceMs;
  return {
    sinceMs,
    ...(known?.(waiting, facts) ?? {
      code: 'CLUSTER_POD_FAILED',
      says: `the container ${waiting.name} waits for a reason that the agent does not know, ${waiting.reason}${quoted(waiting.message)}`,
    }),
  };
}

/** The init container that failed; one that runs beside the script (a sidecar) is none once the script has started. */
export function failedInit({ initContainers, script }: PodFacts): ContainerFacts | undefined {
  if (script?.wasMade) return undefined;
  return initContainers.find(({ state, exitCode }) => state === 'terminated' && exitCode !== 0);
}

export function initFinding(
  { name, exitCode, reason, message, endedMs }: ContainerFacts,
  facts: PodFacts,
): Finding {
  const how = `exit code ${exitCode ?? 'unknown'}${reason === '' || reason === 'Error' ? '' : `, ${reason}`}`;
  return {
    code: 'CLUSTER_INIT_FAILED',
    says: `the init container ${name} failed on ${nodeOf(facts)} (${how}), so the script was not started${quoted(message)}`,
    final: true,
    sinceMs: endedMs,
  };
}

/** The newest event decides: one that failed before another step went well is over. */
function eventHindrance({ facts, events }: PodCase, telling: typeof EVENTS): Finding | undefined {
  const newest = events.findLast(({ reason }) => Object.hasOwn(telling, reason) || STEPS.has(reason));
  const known = newest && telling[newest.reason];
  return known && eventFinding(newest, known, facts);
}

function eventFinding(
  { message, firstMs }: PodEvent,
  [code, what]: readonly [FailureCode, string],
  facts: PodFacts,
): Finding {
  return {
    code: isAboutClaim(message) ? 'CLUSTER_CLAIM_UNBOUND' : code,
    says: `${nodeOf(facts)} ${what}${quoted(message)}`,
    sinceMs: firstMs,
  };
}
