import { randomBytes } from 'node:crypto';
import type { V1Pod } from '@kubernetes/client-node';
import { podEventsFrom, type PodEvent } from '../../../src/executors/kubernetes/pod-event.ts';
import { viewOf, type PodView } from '../../../src/executors/kubernetes/pod-failure.ts';
import { eventually } from '../../harness/eventually.ts';
import type { Cluster } from '../cluster.ts';

type Json = Readonly<Record<string, unknown>>;

/** Keeps the object of a pod that is deleted, so that its last status can be looked at. */
const KEEP = 'test.longshore.dev/keep';

/** What a view says, in short: its state, the code of its trouble, `final` where it is, and the exit code. */
export interface Said {
  readonly state: PodView['state'];
  readonly code: string | undefined;
  readonly says: string;
  readonly final: boolean;
  readonly exitCode?: number | null;
}

export interface PodWish {
  readonly script: Json;
  readonly spec?: Json;
  readonly metadata?: Json;
}

/** A namespace whose pods have one container named as that of a script. */
export class StatusGround {
  readonly namespace = `statuses-${randomBytes(4).toString('hex')}`;
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  async make(): Promise<void> {
    await this.#cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: this.namespace } });
    await eventually(async () => (await this.kubectl('get', 'serviceaccounts')).includes('default'));
  }

  kubectl(...args: readonly string[]): Promise<string> {
    return this.#cluster.kubectl([...args, '--namespace', this.namespace]);
  }

  /** Makes pods by their names, each with a container that runs `script`; `spec` and `metadata` are added to what all have. */
  async pods(wished: Readonly<Record<string, PodWish>>): Promise<void> {
    const { namespace } = this;
    const pods = Object.entries(wished).map(([name, { script, spec = {}, metadata = {} }]) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace, ...metadata },
      spec: {
        restartPolicy: 'Never',
        terminationGracePeriodSeconds: 1,
        containers: [{ name: 'script', image: 'busybox:stable', imagePullPolicy: 'IfNotPresent', ...script }],
        ...spec,
      },
    }));
    await this.#cluster.apply(...pods);
  }

  /** The same, and its object stays when it is deleted, until `release`. */
  async keptPod(name: string, script: Json, spec: Json = {}): Promise<void> {
    await this.pods({ [name]: { script, spec, metadata: { finalizers: [KEEP] } } });
  }

  async release(name: string): Promise<void> {
    await this.kubectl('patch', 'pod', name, '--type=merge', '-p', '{"metadata":{"finalizers":null}}');
  }

  async hasStarted(name: string): Promise<void> {
    await this.kubectl('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=60s');
  }

  async podOf(name: string): Promise<V1Pod> {
    // The type has dates where the wire has texts; viewOf() takes both.
    return JSON.parse(await this.kubectl('get', 'pod', name, '-o', 'json')) as V1Pod;
  }

  async eventsOf(name: string): Promise<PodEvent[]> {
    const about = `involvedObject.kind=Pod,involvedObject.name=${name}`;
    return podEventsFrom(
      JSON.parse(await this.kubectl('get', 'events', '--field-selector', about, '-o', 'json')),
    );
  }

  async viewOf(name: string): Promise<PodView> {
    return viewOf(await this.podOf(name), await this.eventsOf(name), Date.now());
  }

  /** Waits until the view of the pod says `state` and `code`; returns what it says then, or last. */
  async says(name: string, state: PodView['state'], code?: string, deadlineMs = 60_000): Promise<Said> {
    let said: Said | undefined;
    await eventually(async () => {
      said = shortOf(await this.viewOf(name));
      return said.state === state && said.code === code;
    }, deadlineMs).catch(() => undefined);
    return said ?? { state: 'pending', code: 'never looked at', says: '', final: false };
  }

  async remove(): Promise<void> {
    await this.kubectl('delete', 'pods', '--all', '--now', '--wait=false');
    // Of a test that failed before it could release them: the namespace would stay for ever.
    const kept = (await this.kubectl('get', 'pods', '-o', 'name')).split('\n').filter((name) => name !== '');
    await Promise.all(kept.map((name) => this.release(name.replace('pod/', '')).catch(() => undefined)));
    await this.#cluster.kubectl(['delete', 'namespace', this.namespace, '--wait=false']);
  }
}

export function shortOf(view: PodView): Said {
  const trouble = view.state === 'ended' ? view.failure : view.trouble;
  return {
    state: view.state,
    code: trouble?.code,
    says: trouble?.says ?? '',
    final: trouble?.final ?? false,
    ...(view.state === 'ended' && { exitCode: view.exitCode }),
  };
}
