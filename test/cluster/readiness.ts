/** Waits for the parts of the cluster: by asking them, since what the API says of a node may be a minute old. */
import { eventually } from '../harness/eventually.ts';
import { expectRunning } from './daemon.ts';
import { kubectl } from './kubectl.ts';
import type { NodeName } from './places.ts';

const DEADLINE_MS = 120_000;

/** @throws {Error} when the API server or its etcd has ended, or it is not ready in two minutes. */
export async function apiServerReady(): Promise<void> {
  await eventually(async () => {
    expectRunning('etcd', 'kube-apiserver');
    return answers(['get', '--raw', '/readyz'], 'ok');
  }, DEADLINE_MS);
}

/** Returns when the API server reaches the node's kubelet, the node is Ready, and the kubelet knows its pods. */
export async function nodeReady(node: NodeName): Promise<void> {
  const ready = '{.status.conditions[?(@.type=="Ready")].status}';
  await eventually(
    async () =>
      (await answers(['get', 'node', node, '-o', `jsonpath=${ready}`], 'True')) && (await knowsItsPods(node)),
    DEADLINE_MS,
  );
}

/** A pod is refused before the controller manager has made the service account of its namespace. */
export async function defaultAccountReady(): Promise<void> {
  await eventually(() => {
    expectRunning('kube-controller-manager', 'kube-scheduler');
    return answers(['get', 'serviceaccount', 'default', '-o', 'name'], 'serviceaccount/default');
  }, DEADLINE_MS);
}

/** A kubelet that has just started answers 404 for the log of a pod that it has not been told of yet. */
async function knowsItsPods(node: NodeName): Promise<boolean> {
  try {
    const there = `--field-selector=spec.nodeName=${node}`;
    const ids = ['-o', 'jsonpath={.items[*].metadata.uid}', '--request-timeout=5s'];
    const assigned = await kubectl(['get', 'pods', '--all-namespaces', there, ...ids]);
    const known = await kubectl(['get', '--raw', `/api/v1/nodes/${node}/proxy/pods`, '--request-timeout=5s']);
    return assigned.split(' ').every((id) => known.includes(id));
  } catch {
    return false;
  }
}

async function answers(args: readonly string[], wanted: string): Promise<boolean> {
  try {
    return (await kubectl([...args, '--request-timeout=5s'])).trim() === wanted;
  } catch {
    return false;
  }
}
