import type { V1Affinity, V1Pod, V1Volume, V1VolumeMount } from '@kubernetes/client-node';
import type { Plain } from './api-object.ts';
import { RESTRICTED } from './pod-containers.ts';
import { LABEL_PREFIX, POD_PATHS } from './pod-names.ts';
import { resourcesFor } from './pod-resources.ts';
import type { PodSetup } from './pod-setup.ts';
import { onNode, tolerationsFor } from './pod-template.ts';

/** What trial pods are made from: the same as script pods. */
export type TrialSetup = Pick<
  PodSetup,
  'claim' | 'claimFolder' | 'runnerImage' | 'imagePullPolicy' | 'uid' | 'gid' | 'podDefaults'
>;

/** Which part of a trial a pod has. left and right never share a node; a pod inside is on the node that it is given. */
export type TrialSide = 'left' | 'right' | 'inside';

/** One pod of a trial. */
export interface TrialPodOrder {
  /** 8 random hex digits, the same for all pods of a run. */
  readonly run: string;
  readonly side: TrialSide;
  /** A program for `node -e`, and its argument. At most 128 KiB each. */
  readonly program: string;
  readonly argument: string;
  /** Without one, any but that of the other side. */
  readonly node?: string;
  /** Folder of the volume that is mounted instead of all of it. */
  readonly subPath?: string;
}

/** Where a trial pod has the volume, or the folder of it that it was given. */
export const TRIAL_VOLUME = '/longshore/volume';

const RUN_LABEL = `${LABEL_PREFIX}doctor`;
const SIDE_LABEL = `${LABEL_PREFIX}doctor-side`;
const LABELS = {
  'app.kubernetes.io/managed-by': 'longshore',
  'app.kubernetes.io/component': 'doctor',
} as const;
const CONTAINER = 'trial';
/** Ends a pod whose doctor was killed; what is left of it the next doctor removes. */
const NET_S = 90;
/** To remove what it wrote. */
const GRACE_S = 5;
const THREADS = '16';

/** Selects the pods of a run, or those of all doctors. No agent takes them for its own. */
export function trialSelectorFor(run?: string): string {
  const labels = { ...LABELS, ...(run !== undefined && { [RUN_LABEL]: run }) };
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(',');
}

/** The name that a pod of a run has. */
export function trialPodNameFor(run: string, side: TrialSide): string {
  return `ls-doctor-${run}-${side}`;
}

/** Renders a short pod that tries the volume as a script pod meets it: user, claim, pod security, tolerations. */
export function trialPodFor(order: TrialPodOrder, namespace: string, setup: TrialSetup): Plain<V1Pod> {
  const { run, side } = order;
  const { podDefaults, uid, gid } = setup;
  const { nodeSelector, imagePullSecrets, priorityClassName, serviceAccount } = podDefaults;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: trialPodNameFor(run, side),
      namespace,
      labels: { ...podDefaults.labels, ...LABELS, [RUN_LABEL]: run, [SIDE_LABEL]: side },
      annotations: { ...podDefaults.annotations },
    },
    spec: {
      restartPolicy: 'Never',
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      activeDeadlineSeconds: NET_S,
      terminationGracePeriodSeconds: GRACE_S,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: uid,
        runAsGroup: gid,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      ...(serviceAccount !== undefined && { serviceAccountName: serviceAccount }),
      ...(imagePullSecrets !== undefined && { imagePullSecrets: imagePullSecrets.map((name) => ({ name })) }),
      ...(priorityClassName !== undefined && { priorityClassName }),
      ...(nodeSelector !== undefined && { nodeSelector: { ...nodeSelector } }),
      affinity: order.node === undefined ? apartFrom(run) : onNode(order.node),
      tolerations: tolerationsFor(podDefaults.tolerations ?? []),
      containers: [containerFor(order, setup)],
      volumes: [claimVolume(setup)],
    },
  };
}

function containerFor(order: TrialPodOrder, setup: TrialSetup) {
  const { bin } = POD_PATHS;
  const resources = resourcesFor(undefined, setup.podDefaults.resources);
  return {
    name: CONTAINER,
    image: setup.runnerImage,
    imagePullPolicy: setup.imagePullPolicy,
    // The program comes with the pod: no image has to be of the version of the doctor.
    command: [`${bin}/tini`, '--', `${bin}/node`, '-e', order.program, order.argument],
    env: [
      { name: 'NODE_OPTIONS', value: '' },
      { name: 'UV_THREADPOOL_SIZE', value: THREADS },
    ],
    ...(Object.keys(resources).length > 0 && { resources }),
    securityContext: RESTRICTED,
    terminationMessagePolicy: 'FallbackToLogsOnError',
    volumeMounts: [claimMount(order, setup)],
  };
}

function claimVolume({ claim }: TrialSetup): Plain<V1Volume> {
  return { name: 'claim', persistentVolumeClaim: { claimName: claim } };
}

function claimMount({ subPath }: TrialPodOrder, { claimFolder }: TrialSetup): Plain<V1VolumeMount> {
  const parts = [claimFolder, subPath].filter((part) => part !== undefined);
  const within = parts.length === 0 ? {} : { subPath: parts.join('/') };
  return { name: 'claim', mountPath: TRIAL_VOLUME, ...within };
}

/** Symmetric: a pod without one of these sides is free to join either. */
function apartFrom(run: string): Plain<V1Affinity> {
  return {
    podAntiAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: [
        {
          topologyKey: 'kubernetes.io/hostname',
          labelSelector: {
            matchLabels: { [RUN_LABEL]: run },
            matchExpressions: [{ key: SIDE_LABEL, operator: 'In', values: ['left', 'right'] }],
          },
        },
      ],
    },
  };
}
