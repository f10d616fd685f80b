import type { PodResources, PodToleration, PodWishes } from '../../protocol/pod-wishes.ts';
import type { RunOrder } from '../../protocol/run-order.ts';

/** What every script pod has, unless its script may wish something else. Source: `podDefaults` of the configuration. */
export interface PodDefaults {
  readonly serviceAccount?: string;
  readonly resources?: PodResources;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly tolerations?: readonly PodToleration[];
  readonly imagePullSecrets?: readonly string[];
  readonly priorityClassName?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** What script pods are made from beside their orders; the members are the keys of the configuration where it has them. */
export interface PodSetup {
  readonly namespace: string;
  /** At most 63 characters, since it is the value of a label. */
  readonly podGroup: string;
  /** The object that owns the pods, in their namespace; they go with it. */
  readonly owner?: PodOwner;
  readonly claim: string;
  /** Folder of the claim that the agent has as its volume, without a slash at the ends; left out where it has all. */
  readonly claimFolder?: string;
  readonly claimAccess: 'rwx' | 'rwo';
  /** Required for `rwo`. */
  readonly nodeName?: string;
  readonly scriptImage: string;
  readonly runnerImage: string;
  readonly runnerInjection: 'init' | 'image-volume';
  readonly imagePullPolicy: 'IfNotPresent' | 'Always' | 'Never';
  /** User and group of all processes of the pod: those of the agent, since network file systems ignore fsGroup. Not 0. */
  readonly uid: number;
  readonly gid: number;
  readonly podDefaults: PodDefaults;
  readonly podLaunchTimeoutMs: number;
}

/** Source: Kubernetes API, meta/v1 OwnerReference. */
export interface PodOwner {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
}

/** One script on its way into a pod. */
export interface PodOrder {
  readonly order: RunOrder;
  /** Allowed already, see checkPod(). */
  readonly wishes?: PodWishes;
  /** What its server says of it. */
  readonly labels?: Readonly<Record<string, string>>;
  /** 8 random hex digits: the Secret of this pod, and of no earlier one of its name. */
  readonly suffix: string;
}
