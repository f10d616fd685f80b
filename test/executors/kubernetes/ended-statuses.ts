import type { V1Pod } from '@kubernetes/client-node';
import * as made from './made-status.ts';
import {
  container,
  deleted,
  eventOf,
  neverMade,
  podWith,
  running,
  target,
  terminated,
  waiting,
} from './made-status.ts';

const failed = (reason: string, message: string, ...statuses: unknown[]): V1Pod =>
  podWith({ phase: 'Failed', reason, message, containerStatuses: statuses });
const ended = (status: unknown): V1Pod => podWith({ phase: 'Failed', containerStatuses: [status] });
const killed = terminated(137, 'Error');

/** Why a pod ended, by what it is. */
export const ENDED_STATUSES: Readonly<Record<string, made.StatusCase>> = {
  'a container that was killed for memory': {
    pod: ended(terminated(137, 'OOMKilled')),
    view: [
      'ended',
      'CLUSTER_OOM',
      'the kernel killed the container of the script for want of memory; its limit is 64Mi',
    ],
    exitCode: 137,
  },
  'a container that lived on when one of its processes was killed for memory': {
    pod: ended(terminated(7, 'OOMKilled')),
    view: [
      'ended',
      'CLUSTER_OOM',
      'the kernel killed a process of the script for want of memory, and its container ended with exit code 7; its limit is 64Mi',
    ],
    exitCode: 7,
  },
  'a container that ended well although one of its processes was killed for memory': {
    pod: podWith({ phase: 'Succeeded', containerStatuses: [terminated(0, 'OOMKilled')] }),
    view: [
      'ended',
      'CLUSTER_OOM',
      'the kernel killed a process of the script for want of memory, and its container ended with exit code 0; its limit is 64Mi',
    ],
    exitCode: 0,
  },
  'an eviction by the kubelet': {
    pod: failed(
      'Evicted',
      'Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ',
      killed,
    ),
    view: [
      'ended',
      'CLUSTER_EVICTED',
      'node node-a evicted the pod: Pod ephemeral local storage usage exceeds the total limit of containers 10Mi',
    ],
    exitCode: 137,
  },
  'a preemption by the scheduler': {
    pod: podWith(
      {
        phase: 'Failed',
        conditions: [
          target(
            'PreemptionByScheduler',
            'default-scheduler: preempting to accommodate a higher priority pod',
          ),
        ],
        containerStatuses: [killed],
      },
      deleted,
    ),
    view: [
      'ended',
      'CLUSTER_PREEMPTED',
      'the scheduler took the pod away for one of higher priority: default-scheduler: preempting to accommodate a higher priority pod',
    ],
    exitCode: 137,
  },
  'a preemption by the kubelet': {
    pod: failed('Preempting', 'Preempted in order to admit critical pod', killed),
    view: [
      'ended',
      'CLUSTER_PREEMPTED',
      'node node-a ended the pod for a critical one: Preempted in order to admit critical pod',
    ],
    exitCode: 137,
  },
  'a shutdown of the node': {
    pod: failed(
      'Terminated',
      'Pod was terminated in response to imminent node shutdown.',
      terminated(143, 'Error'),
    ),
    view: [
      'ended',
      'CLUSTER_NODE_LOST',
      'node node-a was shut down and ended the pod: Pod was terminated in response to imminent node shutdown',
    ],
    exitCode: 143,
  },
  'a node that is gone from the cluster': {
    pod: podWith(
      {
        phase: 'Failed',
        conditions: [target('DeletionByPodGC', 'PodGC: node no longer exists')],
        containerStatuses: [running],
      },
      deleted,
    ),
    view: [
      'ended',
      'CLUSTER_NODE_LOST',
      'node node-a is gone from the cluster: PodGC: node no longer exists',
    ],
    exitCode: null,
  },
  'a kubelet that does not find the container any more': {
    pod: ended({ ...neverMade, containerID: 'containerd://1' }),
    view: [
      'ended',
      'CLUSTER_NODE_LOST',
      'node node-a lost the container of the script, as it does when it is started anew: The container could not be located when the pod was terminated',
    ],
    exitCode: null,
  },
  'a runtime that does not know how the container ended': {
    pod: ended(terminated(255, 'Unknown')),
    view: [
      'ended',
      'CLUSTER_NODE_LOST',
      'node node-a lost the container of the script, as it does when it is started anew',
    ],
    exitCode: null,
  },
  'a second container, made because the first was lost': {
    pod: ended({ ...terminated(0, 'Completed'), restartCount: 1 }),
    view: [
      'ended',
      'CLUSTER_NODE_LOST',
      'node node-a lost the container of the script, as it does when it is started anew',
    ],
    exitCode: 0,
  },
  'the time limit of the pod': {
    pod: failed(
      'DeadlineExceeded',
      'Pod was active on the node longer than the specified deadline',
      terminated(9, 'Error'),
    ),
    view: [
      'ended',
      'SCRIPT_DEADLINE',
      'the pod of the script ran into its time limit: Pod was active on the node longer than the specified deadline',
    ],
    exitCode: 9,
  },
  'the time limit of a pod whose image never came': {
    pod: failed(
      'DeadlineExceeded',
      'Pod was active on the node longer than the specified deadline',
      waiting('ImagePullBackOff', 'Back-off pulling image "x"'),
    ),
    view: [
      'ended',
      'CLUSTER_IMAGE_MISSING',
      'the pod ran into its time limit before its script was started: node node-a cannot fetch the image busybox:1 and tries again: Back-off pulling image "x"',
    ],
    exitCode: null,
  },
  'the time limit of a pod whose image never came, which only its events tell': {
    pod: failed(
      'DeadlineExceeded',
      'Pod was active on the node longer than the specified deadline',
      neverMade,
    ),
    events: [eventOf('ErrImageNeverPull', 'Container image "x" is not present with pull policy of Never')],
    view: [
      'ended',
      'CLUSTER_IMAGE_MISSING',
      'the pod ran into its time limit before its script was started: node node-a does not have an image of the pod, and may not fetch it: Container image "x" is not present with pull policy of Never',
    ],
    exitCode: null,
  },
  'the time limit of a pod that was not started, for no known reason': {
    pod: failed('DeadlineExceeded', 'Pod was active on the node longer than the specified deadline'),
    view: [
      'ended',
      'RUNNER_NOT_STARTED',
      'the pod ran into its time limit before its script was started: Pod was active on the node longer than the specified deadline',
    ],
    exitCode: null,
  },
  'a node that has no room when the pod arrives': {
    pod: failed(
      'OutOfcpu',
      "Pod was rejected: Node didn't have enough resource: cpu, requested: 9000, used: 0, capacity: 2000",
    ),
    view: [
      'ended',
      'CLUSTER_UNSCHEDULABLE',
      "node node-a refused the pod (OutOfcpu), so nothing ran: Pod was rejected: Node didn't have enough resource: cpu, requested: 9000, used: 0, capacity: 2000",
    ],
    exitCode: null,
  },
  'a node that is not what the pod asked for': {
    pod: failed('NodeAffinity', 'Pod was rejected: Predicate NodeAffinity failed'),
    view: [
      'ended',
      'CLUSTER_UNSCHEDULABLE',
      'node node-a refused the pod (NodeAffinity), so nothing ran: Pod was rejected: Predicate NodeAffinity failed',
    ],
    exitCode: null,
  },
  'a node that is shutting down when the pod arrives': {
    pod: failed('NodeShutdown', 'Pod was rejected: Pod was rejected as the node is shutting down.'),
    view: [
      'ended',
      'CLUSTER_UNSCHEDULABLE',
      'node node-a refused the pod (NodeShutdown), so nothing ran: Pod was rejected: Pod was rejected as the node is shutting down',
    ],
    exitCode: null,
  },
  'a node that cannot allocate what it promised': {
    pod: failed(
      'UnexpectedAdmissionError',
      'Pod was rejected: Allocate failed due to no healthy devices present',
    ),
    view: [
      'ended',
      'CLUSTER_POD_REFUSED',
      'node node-a refused the pod (UnexpectedAdmissionError), so nothing ran: Pod was rejected: Allocate failed due to no healthy devices present',
    ],
    exitCode: null,
  },
  'a program that is not in the image': {
    pod: ended(
      container('script', {
        terminated: {
          exitCode: 128,
          reason: 'StartError',
          message: 'exec: "/longshore/bin/tini": no such file or directory',
          startedAt: '1970-01-01T00:00:00Z',
          finishedAt: made.ENDED,
        },
      }),
    ),
    view: [
      'ended',
      'CLUSTER_CONTAINER_REFUSED',
      'node node-a could not start the container of the script (exit code 128): exec: "/longshore/bin/tini": no such file or directory',
    ],
    exitCode: 128,
  },
  'an image whose C library is another than that of the runner': {
    pod: ended(
      container('script', {
        terminated: {
          exitCode: 127,
          reason: 'Error',
          message: '[FATAL tini (7)] exec /longshore/bin/node failed: No such file or directory\n',
          startedAt: made.STARTED,
          finishedAt: made.ENDED,
        },
      }),
    ),
    view: [
      'ended',
      'CLUSTER_CONTAINER_REFUSED',
      'node node-a could not start the container of the script (exit code 127): [FATAL tini (7)] exec /longshore/bin/node failed: No such file or directory',
    ],
    exitCode: 127,
  },
  'an init container that was killed for memory': {
    pod: podWith({
      phase: 'Failed',
      initContainerStatuses: [container('runner', { terminated: { exitCode: 137, reason: 'OOMKilled' } })],
      containerStatuses: [waiting('PodInitializing')],
    }),
    view: [
      'ended',
      'CLUSTER_INIT_FAILED',
      'the init container runner failed on node node-a (exit code 137, OOMKilled), so the script was not started',
    ],
    exitCode: null,
  },
  'a pod that somebody deleted while its script ran': {
    pod: podWith({ phase: 'Failed', containerStatuses: [killed] }, deleted),
    view: ['ended', 'CLUSTER_POD_DELETED', 'somebody deleted the pod on node node-a'],
    exitCode: 137,
  },
  'a reason of the pod that nobody here knows (invariant 14)': {
    pod: failed('SolarFlare', 'all bits flipped', killed),
    view: [
      'ended',
      'CLUSTER_POD_FAILED',
      'the pod failed on node node-a for a reason that the agent does not know, SolarFlare: all bits flipped',
    ],
    exitCode: 137,
  },
  'a reason of the container that nobody here knows (invariant 14)': {
    pod: ended(terminated(159, 'SeccompKilled', { message: 'syscall 169' })),
    view: [
      'ended',
      'CLUSTER_POD_FAILED',
      'the container of the script ended with exit code 159 for a reason that the agent does not know, SeccompKilled: syscall 169',
    ],
    exitCode: 159,
  },
  'a pod that somebody deleted while its runner was brought': {
    pod: podWith(
      {
        phase: 'Failed',
        initContainerStatuses: [
          container('runner', { terminated: { exitCode: 137, reason: 'Error', finishedAt: made.ENDED } }),
        ],
        containerStatuses: [neverMade],
      },
      deleted,
    ),
    view: ['ended', 'CLUSTER_POD_DELETED', 'somebody deleted the pod on node node-a'],
    exitCode: null,
  },
  'a pod whose container was never made (invariant 14)': {
    pod: ended(neverMade),
    view: [
      'ended',
      'CLUSTER_POD_FAILED',
      'the pod ended as Failed on node node-a, and the cluster does not say why',
    ],
    exitCode: null,
  },
  'a pod that failed without a word (invariant 14)': {
    pod: podWith({ phase: 'Failed' }),
    view: [
      'ended',
      'CLUSTER_POD_FAILED',
      'the pod ended as Failed on node node-a, and the cluster does not say why',
    ],
    exitCode: null,
  },
};
