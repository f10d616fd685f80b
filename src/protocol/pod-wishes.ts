/** What a script wishes of its pod; each only as far as the configuration allows. */
export interface PodWishes {
  readonly image?: string;
  readonly serviceAccount?: string;
  readonly resources?: PodResources;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly tolerations?: readonly PodToleration[];
}

/** Quantities as Kubernetes writes them, by the name of the resource. */
export interface PodResources {
  readonly requests?: Readonly<Record<string, string>>;
  readonly limits?: Readonly<Record<string, string>>;
}

/** Source: Kubernetes API, core/v1 Toleration. */
export interface PodToleration {
  readonly key?: string;
  readonly operator?: 'Exists' | 'Equal';
  readonly value?: string;
  readonly effect?: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';
  readonly tolerationSeconds?: number;
}
