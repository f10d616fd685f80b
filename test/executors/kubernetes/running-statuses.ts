import { deleted, podWith, running, silent, target, type StatusCase } from './made-status.ts';

/** What is in doubt about a pod that runs, by what it is. */
export const RUNNING_STATUSES: Readonly<Record<string, StatusCase>> = {
  'a node that fell silent, where the script may still run': {
    pod: podWith({ phase: 'Running', conditions: silent, containerStatuses: [running] }),
    view: [
      'running',
      'CLUSTER_NODE_LOST',
      'node node-a does not report any more; the script may still run there',
    ],
  },
  'a silent node whose pod was given up and whose grace is over': {
    pod: podWith(
      {
        phase: 'Running',
        conditions: [
          ...silent,
          target('DeletionByTaintManager', 'Taint manager: deleting due to NoExecute taint'),
        ],
        containerStatuses: [running],
      },
      deleted,
    ),
    view: [
      'running',
      'CLUSTER_NODE_LOST',
      'node node-a does not report any more, and the pod on it was given up: Taint manager: deleting due to NoExecute taint',
    ],
    final: true,
  },
  'a taint that drives the pod from a node that is well': {
    pod: podWith(
      {
        phase: 'Running',
        conditions: [target('DeletionByTaintManager', 'Taint manager: deleting due to NoExecute taint')],
        containerStatuses: [running],
      },
      deleted,
    ),
    view: [
      'running',
      'CLUSTER_EVICTED',
      'a taint of node node-a drove the pod away: Taint manager: deleting due to NoExecute taint',
    ],
  },
  'an eviction through the API': {
    pod: podWith(
      {
        phase: 'Running',
        conditions: [target('EvictionByEvictionAPI', 'Eviction API: evicting')],
        containerStatuses: [running],
      },
      deleted,
    ),
    view: [
      'running',
      'CLUSTER_EVICTED',
      'somebody evicted the pod from node node-a through the API, as a drain of the node does: Eviction API: evicting',
    ],
  },
  'a pod that somebody deletes': {
    pod: podWith({ phase: 'Running', containerStatuses: [running] }, deleted),
    view: ['running', 'CLUSTER_POD_DELETED', 'somebody deleted the pod on node node-a'],
  },
  'a disruption that nobody here knows (invariant 14)': {
    pod: podWith({
      phase: 'Running',
      conditions: [target('DeletionByMars', 'too red')],
      containerStatuses: [running],
    }),
    view: [
      'running',
      'CLUSTER_POD_FAILED',
      'the cluster takes the pod away for a reason that the agent does not know, DeletionByMars: too red',
    ],
  },
  'the phase that an old control plane gives to a lost node': {
    pod: podWith({
      phase: 'Unknown',
      reason: 'NodeLost',
      message: 'Node node-a which was running pod ls-a is unresponsive',
      containerStatuses: [running],
    }),
    view: [
      'running',
      'CLUSTER_NODE_LOST',
      'node node-a does not report any more: Node node-a which was running pod ls-a is unresponsive',
    ],
  },
};
