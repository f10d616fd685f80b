/** Failures of the cluster itself. Each one returns how it is mended; mending is awaited until all is well again. */
import { command } from './command.ts';
import { startControlPlane } from './control-plane.ts';
import { signal, stop } from './daemon.ts';
import { containerdReady, cutPower, hold, kill, release, startNode } from './nodes.ts';
import { addressOf } from './places.ts';
import type { NodeName } from './places.ts';
import { apiServerReady, nodeReady } from './readiness.ts';

/** Ends the failure; may be called twice. */
export type Mend = () => Promise<void>;

export interface Outages {
  /** Killed: connections break, and then are refused. Pods go on. */
  readonly apiServerKilled: () => Promise<Mend>;
  /** Stopped by a signal: connections are taken, and nothing ever answers. */
  readonly apiServerFrozen: () => Promise<Mend>;
  /** Pods go on, unseen; the node becomes NotReady after about 50 s. */
  readonly kubeletKilled: (node: NodeName) => Promise<Mend>;
  /** containerd is killed and comes back by itself; its containers go on. */
  readonly containerdRestarted: (node: NodeName) => Promise<void>;
  /** Nothing reaches the node or leaves it; what runs there goes on. */
  readonly networkCut: (node: NodeName) => Promise<Mend>;
  /** Every process of the node is gone at once. Mending starts it again, as a machine that boots. */
  readonly powerCut: (node: NodeName) => Promise<Mend>;
}

export const outages: Outages = {
  async apiServerKilled() {
    await stop('kube-apiserver', 0);
    return startControlPlane;
  },
  async apiServerFrozen() {
    signal('kube-apiserver', 'SIGSTOP');
    return async () => {
      signal('kube-apiserver', 'SIGCONT');
      await apiServerReady();
    };
  },
  async kubeletKilled(node) {
    hold(node, 'kubelet');
    await kill(node, 'kubelet');
    return async () => {
      release(node, 'kubelet');
      await nodeReady(node);
    };
  },
  async containerdRestarted(node) {
    await kill(node, 'containerd');
    await containerdReady(node);
    await nodeReady(node);
  },
  async networkCut(node) {
    const { wire } = addressOf(node);
    await command('ip', ['link', 'set', wire, 'down']);
    return async () => {
      await command('ip', ['link', 'set', wire, 'up']);
      await nodeReady(node);
    };
  },
  async powerCut(node) {
    await cutPower(node);
    return async () => {
      await startNode(node);
      for (const program of ['kubelet', 'kube-proxy'] as const) release(node, program);
      await nodeReady(node);
    };
  },
};
