import type { V1Pod } from '@kubernetes/client-node';
import { condition, container, deleted, eventOf, podWith, waiting, type StatusCase } from './made-status.ts';

const pending = (...statuses: unknown[]): V1Pod => podWith({ phase: 'Pending', containerStatuses: statuses });
const unscheduled = (reason: string, message: string): V1Pod =>
  podWith({ phase: 'Pending', conditions: [condition('PodScheduled', 'False', { reason, message })] });

/** What keeps a pod from running its script, by what it is. */
export const PENDING_STATUSES: Readonly<Record<string, StatusCase>> = {
  'an image that no registry has, and heals when one has it': {
    pod: pending(
      waiting('ErrImagePull', 'failed to resolve reference "registry.invalid/no/such:1": not found'),
    ),
    view: [
      'pending',
      'CLUSTER_IMAGE_MISSING',
      'node node-a cannot fetch the image busybox:1 and tries again: failed to resolve reference "registry.invalid/no/such:1": not found',
    ],
  },
  'the back-off between two pulls': {
    pod: pending(waiting('ImagePullBackOff', 'Back-off pulling image "busybox:1": ErrImagePull: not found')),
    view: [
      'pending',
      'CLUSTER_IMAGE_MISSING',
      'node node-a cannot fetch the image busybox:1 and tries again: Back-off pulling image "busybox:1": ErrImagePull: not found',
    ],
  },
  'an image that must be on the node and is not': {
    pod: pending(
      waiting('ErrImageNeverPull', 'Container image "nosuch:1" is not present with pull policy of Never'),
    ),
    view: [
      'pending',
      'CLUSTER_IMAGE_MISSING',
      'node node-a does not have the image busybox:1, and the pull policy keeps it from fetching it: Container image "nosuch:1" is not present with pull policy of Never',
    ],
    final: true,
  },
  'a name that is no name of an image': {
    pod: pending(
      container(
        'script',
        {
          waiting: { reason: 'InvalidImageName', message: 'Failed to apply default image tag "NOT A NAME"' },
        },
        { image: 'NOT A NAME' },
      ),
    ),
    view: [
      'pending',
      'CLUSTER_IMAGE_INVALID',
      'NOT A NAME is no name of an image: Failed to apply default image tag "NOT A NAME"',
    ],
    final: true,
  },
  'no node with room, in the words of the scheduler': {
    pod: unscheduled(
      'Unschedulable',
      '0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate.',
    ),
    view: [
      'pending',
      'CLUSTER_UNSCHEDULABLE',
      'no node takes the pod: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate',
    ],
  },
  'scheduling gates': {
    pod: unscheduled('SchedulingGated', 'Scheduling is blocked due to non-empty scheduling gates'),
    view: [
      'pending',
      'CLUSTER_UNSCHEDULABLE',
      'no node takes the pod because of its scheduling gates: Scheduling is blocked due to non-empty scheduling gates',
    ],
  },
  'a claim that does not exist': {
    pod: unscheduled(
      'Unschedulable',
      '0/2 nodes are available: persistentvolumeclaim "nosuch" not found. not found',
    ),
    view: [
      'pending',
      'CLUSTER_CLAIM_UNBOUND',
      'the pod waits for its volume claim: 0/2 nodes are available: persistentvolumeclaim "nosuch" not found. not found',
    ],
  },
  'a claim that is not bound': {
    pod: unscheduled(
      'Unschedulable',
      '0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.',
    ),
    view: [
      'pending',
      'CLUSTER_CLAIM_UNBOUND',
      'the pod waits for its volume claim: 0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims',
    ],
  },
  'a claim without a volume on any node': {
    pod: unscheduled(
      'Unschedulable',
      "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.",
    ),
    view: [
      'pending',
      'CLUSTER_CLAIM_UNBOUND',
      "the pod waits for its volume claim: 0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind",
    ],
  },
  'nodes that have no volume, and nodes that have no room': {
    pod: unscheduled(
      'Unschedulable',
      "0/2 nodes are available: 1 node(s) didn't find available persistent volumes to bind, 1 Insufficient cpu.",
    ),
    view: [
      'pending',
      'CLUSTER_UNSCHEDULABLE',
      "no node takes the pod: 0/2 nodes are available: 1 node(s) didn't find available persistent volumes to bind, 1 Insufficient cpu",
    ],
  },
  'a Secret that the environment names and that is missing': {
    pod: pending(waiting('CreateContainerConfigError', 'secret "nosuch" not found')),
    view: [
      'pending',
      'CLUSTER_CONTAINER_REFUSED',
      'node node-a cannot make or start the container script (CreateContainerConfigError): secret "nosuch" not found',
    ],
  },
  'an image that runs as root': {
    pod: pending(
      waiting(
        'CreateContainerConfigError',
        'container has runAsNonRoot and image will run as root (pod: "ls-a")',
      ),
    ),
    view: [
      'pending',
      'CLUSTER_CONTAINER_REFUSED',
      'node node-a cannot make or start the container script (CreateContainerConfigError): container has runAsNonRoot and image will run as root (pod: "ls-a")',
    ],
    final: true,
  },
  'a folder of the volume that cannot be mounted into the container': {
    pod: pending(
      waiting(
        'CreateContainerConfigError',
        'failed to prepare subPath for volumeMount "volume" of container "script"',
      ),
    ),
    view: [
      'pending',
      'CLUSTER_MOUNT_FAILED',
      'node node-a cannot make or start the container script (CreateContainerConfigError): failed to prepare subPath for volumeMount "volume" of container "script"',
    ],
  },
  'a container that the runtime cannot make': {
    pod: pending(waiting('CreateContainerError', 'context deadline exceeded')),
    view: [
      'pending',
      'CLUSTER_CONTAINER_REFUSED',
      'node node-a cannot make or start the container script (CreateContainerError): context deadline exceeded',
    ],
  },
  'a volume that cannot be mounted, told by an event': {
    pod: pending(waiting('ContainerCreating')),
    events: [eventOf('FailedMount', 'MountVolume.SetUp failed for volume "v" : secret "nosuch" not found')],
    view: [
      'pending',
      'CLUSTER_MOUNT_FAILED',
      'node node-a cannot mount a volume of the pod: MountVolume.SetUp failed for volume "v" : secret "nosuch" not found',
    ],
  },
  'a volume that is not attached': {
    pod: pending(waiting('PodInitializing')),
    events: [
      eventOf(
        'FailedAttachVolume',
        'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) x',
      ),
    ],
    view: [
      'pending',
      'CLUSTER_MOUNT_FAILED',
      'node node-a does not get a volume of the pod attached: Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) x',
    ],
  },
  'a sandbox that cannot be made': {
    pod: pending(waiting('ContainerCreating')),
    events: [
      eventOf('FailedCreatePodSandBox', 'plugin type="bridge" failed (add): no IP addresses available'),
    ],
    view: [
      'pending',
      'CLUSTER_CONTAINER_REFUSED',
      'node node-a cannot make the sandbox of the pod: plugin type="bridge" failed (add): no IP addresses available',
    ],
  },
  'a node that fell silent before the container was made': {
    pod: pending(waiting('ContainerCreating')),
    events: [eventOf('NodeNotReady', 'Node is not ready')],
    view: ['pending', 'CLUSTER_NODE_LOST', 'node node-a does not report any more: Node is not ready'],
  },
  'an init container that failed, before the pod is said to have': {
    pod: podWith({
      phase: 'Pending',
      initContainerStatuses: [
        container('runner', { terminated: { exitCode: 4, reason: 'Error', message: 'no such file' } }),
      ],
      containerStatuses: [waiting('PodInitializing')],
    }),
    view: [
      'pending',
      'CLUSTER_INIT_FAILED',
      'the init container runner failed on node node-a (exit code 4), so the script was not started: no such file',
    ],
    final: true,
  },
  'a pod that somebody deleted before its script began': {
    pod: podWith({ phase: 'Pending', containerStatuses: [waiting('ContainerCreating')] }, deleted),
    view: ['pending', 'CLUSTER_POD_DELETED', 'somebody deleted the pod on node node-a'],
    final: true,
  },
  'a reason to wait that nobody here knows (invariant 14)': {
    pod: pending(waiting('FluxCapacitorError', 'needs 1.21 GW')),
    view: [
      'pending',
      'CLUSTER_POD_FAILED',
      'the container script waits for a reason that the agent does not know, FluxCapacitorError: needs 1.21 GW',
    ],
  },
  'a crash loop, which restartPolicy Never excludes (invariant 14)': {
    pod: pending(waiting('CrashLoopBackOff', 'back-off 10s restarting failed container=script')),
    view: [
      'pending',
      'CLUSTER_POD_FAILED',
      'the container script waits for a reason that the agent does not know, CrashLoopBackOff: back-off 10s restarting failed container=script',
    ],
  },
};
