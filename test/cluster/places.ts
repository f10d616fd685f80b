/** Where the cluster lies on this machine, and its addresses.
 *
 *  Everything is below one folder. `bin` and the images outlive a cluster, `run` is the cluster. The numbers are
 *  unusual ones, so that a cluster of somebody else on this machine is not in the way. */
import { join, resolve } from 'node:path';

export const nodeNames = ['node-a', 'node-b'] as const;
export type NodeName = (typeof nodeNames)[number];

/** Not below a home: agents and pods of other users must come through to the volumes. */
const root = resolve(process.env['LONGSHORE_CLUSTER_DIR'] ?? '/var/cache/longshore-cluster');
const run = join(root, 'run');

export const places = {
  root,
  bin: join(root, 'bin'),
  images: join(root, 'images'),
  buildah: join(root, 'buildah'),
  run,
  log: join(run, 'log'),
  pid: join(run, 'pid'),
  keys: join(run, 'keys'),
  /** The host folders behind the shared volumes; both nodes see it, and every mount that is made below it later. */
  volumes: join(run, 'volumes'),
  kubeconfig: join(run, 'admin.kubeconfig'),
  /** The sources beside this file; the program is started in the folder of the project. */
  sources: resolve('test/cluster'),
} as const;

export const network = {
  bridge: 'longshore0',
  /** The control plane, as the nodes and the pods reach it. */
  host: '10.214.0.1',
  nodes: '10.214.0.0/24',
  pods: '10.246.0.0/16',
  services: '10.98.0.0/16',
  firstService: '10.98.0.1',
  apiPort: 7443,
} as const;

export interface NodeAddress {
  readonly ip: string;
  readonly pods: string;
  /** The machine's end of the wire to the node. */
  readonly wire: string;
  /** What the node calls its root, in every hierarchy of control groups. */
  readonly cgroup: string;
}

export function addressOf(node: NodeName): NodeAddress {
  const number = nodeNames.indexOf(node) + 1;
  return {
    ip: `10.214.0.${number + 1}`,
    pods: `10.246.${number}.0/24`,
    wire: `longshore-${node.slice(-1)}`,
    cgroup: `longshore-${node}`,
  };
}
