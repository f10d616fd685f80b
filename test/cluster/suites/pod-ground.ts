import { randomBytes } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import type { V1Pod } from '@kubernetes/client-node';
import type { Plain } from '../../../src/executors/kubernetes/api-object.ts';
import { orderSecretFor } from '../../../src/executors/kubernetes/order-secret.ts';
import type { PodSetup } from '../../../src/executors/kubernetes/pod-setup.ts';
import { podFor } from '../../../src/executors/kubernetes/pod-template.ts';
import type { PodWishes } from '../../../src/protocol/pod-wishes.ts';
import type { RunOrder } from '../../../src/protocol/run-order.ts';
import { eventually } from '../../harness/eventually.ts';
import { decode, stageScriptIn, type Decoded, type StagedScript } from '../../runner/staged-script.ts';
import type { Cluster } from '../cluster.ts';

export type Pod = Plain<V1Pod>;

/** A user that no image knows by name; the agent's, in a real cluster. */
const USER = 10001;

/** A script in a pod of its own, made without an agent. */
export interface ScriptPod {
  readonly staged: StagedScript;
  readonly name: string;
}

/** A namespace that enforces pod security, with a claim in it. */
export class PodGround {
  readonly namespace: string;
  readonly #cluster: Cluster;
  readonly #setup: PodSetup;
  #folder = '';

  constructor(cluster: Cluster, setup: PodSetup) {
    this.#cluster = cluster;
    this.namespace = `pods-${randomBytes(4).toString('hex')}`;
    this.#setup = { ...setup, namespace: this.namespace, imagePullPolicy: 'Never' };
  }

  async make(): Promise<void> {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    await this.#cluster.apply({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: this.namespace, labels },
    });
    await eventually(async () => (await this.kubectl('get', 'serviceaccounts')).includes('default'));
    this.#folder = await this.#cluster.sharedClaim(this.namespace, this.#setup.claim);
  }

  kubectl(...args: readonly string[]): Promise<string> {
    return this.#cluster.kubectl([...args, '--namespace', this.namespace]);
  }

  /** Stages a script, and makes its pod and then its Secret, as an agent does. */
  async launch(
    script: string,
    given: { order?: Partial<RunOrder>; wishes?: PodWishes; setup?: Partial<PodSetup> } = {},
  ): Promise<ScriptPod> {
    const packages = { 'packages/web.1.zip': 'the package' };
    const staged = stageScriptIn(this.#folder, script, { deadlineMs: 600_000, ...given.order }, packages);
    // As if an agent of that user had made it: a network file system knows no other way.
    execFileSync('chown', ['-R', `${USER}:${USER}`, `${this.#folder}/longshore-v1`]);
    const { order } = staged;
    const podOrder = {
      order,
      suffix: randomBytes(4).toString('hex'),
      ...(given.wishes && { wishes: given.wishes }),
    };
    const made = await this.#create(podFor(podOrder, { ...this.#setup, ...given.setup }));
    await this.#create(orderSecretFor(made, order));
    return { staged, name: made.metadata?.name ?? '' };
  }

  async podOf({ name }: ScriptPod): Promise<Pod> {
    return JSON.parse(await this.kubectl('get', 'pod', name, '-o', 'json')) as Pod;
  }

  /** Waits until the pod is in its last phase. */
  async ended(pod: ScriptPod, deadlineMs = 60_000): Promise<Pod> {
    const phase = async (): Promise<string> => (await this.podOf(pod)).status?.phase ?? '';
    await eventually(async () => ['Succeeded', 'Failed'].includes(await phase()), deadlineMs);
    return this.podOf(pod);
  }

  async logOf({ name, staged }: ScriptPod): Promise<Decoded> {
    return decode(Buffer.from(await this.kubectl('logs', name)), staged.key);
  }

  async #create<Made extends object>(made: Made): Promise<Made> {
    const args = ['create', '-f', '-', '-o', 'json', '--validate=strict'];
    // What comes back is what was sent, and what the API server adds.
    return JSON.parse(await this.#cluster.kubectl(args, JSON.stringify(made))) as Made;
  }
}
