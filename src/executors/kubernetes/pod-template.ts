import type { V1ObjectMeta, V1Pod, V1PodSpec, V1Toleration } from '@kubernetes/client-node';
import type { PodToleration } from '../../protocol/pod-wishes.ts';
import type { RunOrder } from '../../protocol/run-order.ts';
import type { Plain } from './api-object.ts';
import { initContainersFor, scriptContainerFor } from './pod-containers.ts';
import { labelsAnnotationFor, podLabelsFor } from './pod-labels.ts';
import { ownLabelsFor, podNameFor, TICKET_ANNOTATION } from './pod-names.ts';
import type { PodOrder, PodSetup } from './pod-setup.ts';
import { volumesFor } from './pod-volumes.ts';

/** Beyond grace and drain: for the last output, what the volume still lacks, and the end record. */
const END_MARGIN_S = 15;
/** The node lifecycle controller gives pods five minutes otherwise. */
const NODE_LOST_S = 30;
const NODE_TROUBLES = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'] as const;

/** Script pods must not be moved: whoever ends one for the sake of a smaller cluster ends a deployment in the middle. */
const STAY = {
  'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false',
  'karpenter.sh/do-not-disrupt': 'true',
};

/**
 * Renders the pod of a script; the same input gives the same pod.
 *
 * What a script cannot change whatever the policy: name, labels of ours, owner, restart policy, mounts, security context.
 * It passes pod security `restricted`.
 *
 * @throws {TypeError} for `rwo` without a node, or user 0: the caller's configuration is checked at its start.
 */
export function podFor(podOrder: PodOrder, setup: PodSetup): Plain<V1Pod> {
  if (setup.claimAccess === 'rwo' && setup.nodeName === undefined) throw new TypeError('rwo needs nodeName');
  if (setup.uid === 0) throw new TypeError('a script pod never runs as user 0');
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: metadataFor(podOrder, setup),
    spec: specFor(podOrder, setup),
  };
}

function metadataFor({ order, labels = {} }: PodOrder, setup: PodSetup): Plain<V1ObjectMeta> {
  const { namespace, owner, podGroup, podDefaults } = setup;
  return {
    name: podNameFor(order.key),
    namespace,
    // The operator comes behind the script: a network policy may go by what `podDefaults` says.
    labels: { ...podLabelsFor(labels), ...podDefaults.labels, ...ownLabelsFor(podGroup) },
    annotations: {
      ...STAY,
      ...podDefaults.annotations,
      ...labelsAnnotationFor(labels),
      [TICKET_ANNOTATION]: order.ticket,
    },
    ...(owner !== undefined && { ownerReferences: [{ ...owner }] }),
  };
}

function specFor(podOrder: PodOrder, setup: PodSetup): Plain<V1PodSpec> {
  const { order, wishes = {} } = podOrder;
  const { podDefaults, uid, gid } = setup;
  const serviceAccountName = wishes.serviceAccount ?? podDefaults.serviceAccount;
  const nodeSelector = { ...podDefaults.nodeSelector, ...wishes.nodeSelector };
  const deadlineS = activeDeadlineSeconds(order, setup);
  return {
    // Never: a second start of the container would find the claim taken and say nothing.
    restartPolicy: 'Never',
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: Math.ceil((order.graceMs + order.drainMs) / 1000) + END_MARGIN_S,
    ...(deadlineS !== undefined && { activeDeadlineSeconds: deadlineS }),
    // No fsGroup: the kubelet would walk through the whole volume, where the file system honours it at all.
    securityContext: {
      runAsNonRoot: true,
      runAsUser: uid,
      runAsGroup: gid,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    ...(serviceAccountName !== undefined && { serviceAccountName }),
    ...(podDefaults.imagePullSecrets !== undefined && {
      imagePullSecrets: podDefaults.imagePullSecrets.map((name) => ({ name })),
    }),
    ...(podDefaults.priorityClassName !== undefined && { priorityClassName: podDefaults.priorityClassName }),
    ...(Object.keys(nodeSelector).length > 0 && { nodeSelector }),
    ...(setup.nodeName !== undefined && setup.claimAccess === 'rwo' && { affinity: onNode(setup.nodeName) }),
    tolerations: tolerationsFor([...(podDefaults.tolerations ?? []), ...(wishes.tolerations ?? [])]),
    ...initContainersFor(podOrder, setup),
    containers: [scriptContainerFor(podOrder, setup)],
    volumes: volumesFor(podOrder, setup),
  };
}

/** Holds while the agent is away; the runner has a deadline of its own. It counts from when a kubelet took the pod. */
function activeDeadlineSeconds(order: RunOrder, setup: PodSetup): number | undefined {
  if (order.deadlineMs === null) return undefined;
  const allMs = order.deadlineMs + order.graceMs + order.drainMs + setup.podLaunchTimeoutMs;
  return Math.ceil(allMs / 1000);
}

/** By field and not by the label kubernetes.io/hostname, which may differ from the name. */
export function onNode(nodeName: string): NonNullable<Plain<V1PodSpec>['affinity']> {
  const matchFields = [{ key: 'metadata.name', operator: 'In', values: [nodeName] }];
  return {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchFields }] },
    },
  };
}

/** The given ones, and short patience with a node that does not report. */
export function tolerationsFor(given: readonly PodToleration[]): Plain<V1Toleration>[] {
  const own = NODE_TROUBLES.filter((key) => !given.some((one) => one.key === key)).map((key) => ({
    key,
    operator: 'Exists',
    effect: 'NoExecute',
    tolerationSeconds: NODE_LOST_S,
  }));
  return [...given.map((one) => ({ ...one })), ...own];
}
