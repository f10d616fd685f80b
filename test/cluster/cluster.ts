/** A Kubernetes of two nodes on this machine, made of the real programs.
 *
 *  ```
 *  machine     etcd ◀── kube-apiserver ◀── controller manager, scheduler, CoreDNS        bridge longshore0
 *                                                                                         │            │
 *  node-a, node-b: namespaces and control group of their own                            eth0         eth0
 *              containerd ◀── kubelet, kube-proxy                                        node-a       node-b
 *  ```
 *
 *  Every step looks at what is there and does the rest, so that a half-made cluster is finished, and a whole one is
 *  found in a second. docs/guides/testing-on-a-cluster.md tells how it differs from a cluster of the world. */
import { existsSync } from 'node:fs';
import { makeKeys } from './authority.ts';
import { buildBinaries } from './binaries.ts';
import { controlPlane, startControlPlane } from './control-plane.ts';
import { daemons, stop } from './daemon.ts';
import { startDns } from './dns.ts';
import { buildBaseImages, nodeImages } from './images.ts';
import { apply, kubectl } from './kubectl.ts';
import { prepareMachine, removeRun, restoreMachine } from './machine.ts';
import { cutPower, importImage, inNode, release, startNode } from './nodes.ts';
import { outages } from './outage.ts';
import type { Outages } from './outage.ts';
import { nodeNames, places } from './places.ts';
import type { NodeName } from './places.ts';
import { missing } from './prerequisites.ts';
import { defaultAccountReady, nodeReady } from './readiness.ts';
import { sharedClaim } from './shared-claim.ts';

export interface Cluster {
  /** Of a user who may do everything, over an address of the machine. */
  readonly kubeconfig: string;
  readonly nodes: typeof nodeNames;
  readonly outage: Outages;
  /** Runs kubectl to its end and returns its stdout. @throws {Error} with its stderr when it fails. */
  readonly kubectl: (args: readonly string[], input?: string) => Promise<string>;
  /** Creates or changes objects. */
  readonly apply: (...objects: readonly object[]) => Promise<void>;
  /** Makes a claim that pods on both nodes may write, and returns the host folder behind it.
   *  A file system that is mounted at that folder is seen by every pod that starts afterwards. */
  readonly sharedClaim: (namespace: string, name: string) => Promise<string>;
  /** Makes the images of an OCI or docker archive known to both nodes. */
  readonly importImage: (archive: string) => Promise<void>;
  /** Runs a program in the namespaces of a node and returns its stdout. */
  readonly inNode: (node: NodeName, args: readonly string[]) => Promise<string>;
  /** Ends all of it and removes what it left on the machine; binaries and images stay. */
  readonly takeDown: () => Promise<void>;
}

export type Say = (line: string) => void;

/** Builds what is missing, starts what does not run, and returns when pods can run on both nodes.
 *  Not for two callers at once. @throws {Error} in one sentence when the machine lacks something. */
export async function bringUp(say: Say = () => undefined): Promise<Cluster> {
  const lacks = await missing();
  if (lacks !== undefined) throw new Error(lacks);
  await buildBinaries(say);
  await buildBaseImages(say);
  await prepareMachine();
  await makeKeys();
  await Promise.all([startControlPlane(), startNodes()]);
  for (const node of nodeNames)
    for (const program of ['kubelet', 'kube-proxy'] as const) release(node, program);
  await Promise.all([startDns(), ...nodeNames.map(nodeReady), defaultAccountReady()]);
  return theCluster();
}

/** The cluster that `bringUp` has brought up, for a test that runs in a process of its own. */
export function theCluster(): Cluster {
  if (!existsSync(places.kubeconfig))
    throw new Error('There is no test cluster: npm run test:cluster brings it up');
  return {
    kubeconfig: places.kubeconfig,
    nodes: nodeNames,
    outage: outages,
    kubectl,
    apply,
    sharedClaim,
    importImage,
    inNode,
    takeDown,
  };
}

/** Ends the cluster, also one that was half made or half ended. */
export async function takeDown(): Promise<void> {
  // First whoever would act on the death of the others.
  for (const name of ['kube-scheduler', 'kube-controller-manager']) await stop(name, 1000);
  await Promise.all(nodeNames.map(cutPower));
  for (const name of controlPlane) await stop(name, 3000);
  for (const name of daemons()) await stop(name, 3000);
  await restoreMachine();
  removeRun();
}

async function startNodes(): Promise<void> {
  await Promise.all(nodeNames.map(startNode));
  for (const archive of nodeImages) await importImage(archive);
}
