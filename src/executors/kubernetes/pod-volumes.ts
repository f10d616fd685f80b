import type { V1Volume, V1VolumeMount } from '@kubernetes/client-node';
import type { RunOrder } from '../../protocol/run-order.ts';
import { VolumeLayout, WorkspaceLayout } from '../../protocol/volume-layout.ts';
import type { Plain } from './api-object.ts';
import { runnerSourceFor } from './pod-image.ts';
import { ORDER_VOLUME, orderSecretNameFor, POD_PATHS } from './pod-names.ts';
import type { PodOrder, PodSetup } from './pod-setup.ts';

const CLAIM_VOLUME = 'claim';
const TEMPORARY_VOLUME = 'temporary';
const RUNNER_VOLUME = 'runner';
const COPY_VOLUME = 'copy';

/** The user of the pod reads it, and it owns nothing in a Secret's folder: everybody in this container may. */
const READABLE = 0o444;

export function volumesFor(podOrder: PodOrder, setup: PodSetup): Plain<V1Volume>[] {
  const { order, suffix } = podOrder;
  const secretName = orderSecretNameFor(order.key, suffix);
  return [
    { name: CLAIM_VOLUME, persistentVolumeClaim: { claimName: setup.claim } },
    { name: ORDER_VOLUME, secret: { secretName, defaultMode: READABLE } },
    { name: TEMPORARY_VOLUME, emptyDir: {} },
    ...copyVolumeFor(order),
    ...runnerVolumeFor(podOrder, setup),
  ];
}

/**
 * What the script's container sees of the claim: its own workspace and the volume's identity, and nothing of another
 * script (invariant 12). Packages, manifest and body are read-only, files/ and out/ lie over that and are not.
 */
export function scriptMountsFor(podOrder: PodOrder, setup: PodSetup): Plain<V1VolumeMount>[] {
  const { workspace: atRoot, identity, order, temporary, copy } = POD_PATHS;
  const layout = new VolumeLayout(setup.claimFolder === undefined ? '' : `/${setup.claimFolder}`);
  const onVolume = layout.workspace(podOrder.order.key);
  const inPod = new WorkspaceLayout(atRoot);
  return [
    { ...claimMount(inPod.root, onVolume.root), readOnly: true },
    claimMount(inPod.files, onVolume.files),
    claimMount(inPod.out, onVolume.out),
    { ...claimMount(identity, layout.identity), readOnly: true },
    { name: ORDER_VOLUME, mountPath: order, readOnly: true },
    { name: TEMPORARY_VOLUME, mountPath: temporary },
    ...(podOrder.order.copy ? [{ name: COPY_VOLUME, mountPath: copy }] : []),
    ...runnerMountFor(podOrder, setup),
  ];
}

/** A kubelet evicts the pod of a script that takes more: what it writes there is not bounded otherwise. */
function copyVolumeFor({ copy }: RunOrder): Plain<V1Volume>[] {
  return copy ? [{ name: COPY_VOLUME, emptyDir: { sizeLimit: String(copy.maxBytes) } }] : [];
}

/** The folder that an init container fills, at a place of its own. */
export function injectionMount(mountPath: string): Plain<V1VolumeMount> {
  return { name: RUNNER_VOLUME, mountPath };
}

function claimMount(mountPath: string, path: string): Plain<V1VolumeMount> {
  return { name: CLAIM_VOLUME, mountPath, subPath: path.replace(/^\//, '') };
}

function runnerVolumeFor(podOrder: PodOrder, setup: PodSetup): Plain<V1Volume>[] {
  const { runnerImage: reference, imagePullPolicy: pullPolicy } = setup;
  const source = runnerSourceFor(podOrder, setup);
  switch (source) {
    case 'own':
      return [];
    case 'init':
      return [{ name: RUNNER_VOLUME, emptyDir: {} }];
    case 'image-volume':
      return [{ name: RUNNER_VOLUME, image: { reference, pullPolicy } }];
    default:
      return source satisfies never;
  }
}

function runnerMountFor(podOrder: PodOrder, setup: PodSetup): Plain<V1VolumeMount>[] {
  const source = runnerSourceFor(podOrder, setup);
  switch (source) {
    case 'own':
      return [];
    case 'init':
      return [{ ...injectionMount(POD_PATHS.bin), readOnly: true }];
    case 'image-volume':
      return [{ ...injectionMount(POD_PATHS.runnerImage), readOnly: true }];
    default:
      return source satisfies never;
  }
}
