import type { V1Pod, V1Secret } from '@kubernetes/client-node';
import { Fault } from '../../protocol/fault.ts';
import type { RunOrder } from '../../protocol/run-order.ts';
import { VolumeLayout } from '../../protocol/volume-layout.ts';
import type { Plain } from './api-object.ts';
import { ORDER_FILE, ORDER_VOLUME, ownLabelsFor, GROUP_LABEL, POD_PATHS } from './pod-names.ts';

/** Source: Kubernetes API, core/v1 Secret, MaxSecretSize. */
const MAX_ORDER_BYTES = 1024 * 1024;

/**
 * Renders the Secret that a pod waits for, from the pod as the API server gave it back, with its uid.
 *
 * The pod owns it, so that it goes with the pod and nobody needs the right to list or delete Secrets.
 *
 * @throws {Fault} CLUSTER_POD_REFUSED when the order is larger than a Secret can be.
 * @throws {TypeError} for a pod that did not come from the API server, or is none of ours.
 */
export function orderSecretFor(pod: Plain<V1Pod>, order: RunOrder): Plain<V1Secret> {
  const { name, namespace, uid, labels } = pod.metadata ?? {};
  const secretName = orderSecretNameOf(pod);
  if (!name || !namespace || !uid || secretName === undefined) {
    throw new TypeError('not a script pod that the API server gave back');
  }
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: secretName,
      namespace,
      labels: ownLabelsFor(labels?.[GROUP_LABEL] ?? ''),
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name, uid }],
    },
    // The kubelet reads it once and does not watch it.
    immutable: true,
    type: 'Opaque',
    data: { [ORDER_FILE]: bytesOf(order).toString('base64') },
  };
}

/** Returns the name of the Secret that a pod waits for, or undefined where it waits for none. */
export function orderSecretNameOf(pod: Plain<V1Pod>): string | undefined {
  return pod.spec?.volumes?.find(({ name }) => name === ORDER_VOLUME)?.secret?.secretName;
}

/** Returns the order as the runner in a pod must read it: with the places of the pod. */
export function orderInPod(order: RunOrder): RunOrder {
  // The identity is mounted without the folders above it; its file keeps the name that it has on the volume.
  const { identity, epoch } = new VolumeLayout('');
  const epochFile = `${POD_PATHS.identity}${epoch.slice(identity.length)}`;
  // Below the mount, which nobody can remove.
  const copy = order.copy && { ...order.copy, folder: `${POD_PATHS.copy}/script` };
  return { ...order, workspace: POD_PATHS.workspace, epochFile, mountFolder: POD_PATHS.identity, copy };
}

/** @throws {Fault} CLUSTER_POD_REFUSED when the order is larger than a Secret can be. */
export function assertFits(order: RunOrder): void {
  bytesOf(order);
}

function bytesOf(order: RunOrder): Buffer {
  const bytes = Buffer.from(JSON.stringify(orderInPod(order)));
  if (bytes.length <= MAX_ORDER_BYTES) return bytes;
  const rule = `a Secret holds at most ${MAX_ORDER_BYTES} bytes`;
  throw new Fault(
    'CLUSTER_POD_REFUSED',
    `the variables and arguments of ${order.ticket} come to ${bytes.length} bytes, and ${rule}`,
    { detail: { bytes: bytes.length, maxBytes: MAX_ORDER_BYTES } },
  );
}
