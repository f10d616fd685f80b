import { randomBytes } from 'node:crypto';
import type { V1Pod } from '@kubernetes/client-node';
import type { Plain } from '../../../src/executors/kubernetes/api-object.ts';
import { orderSecretFor } from '../../../src/executors/kubernetes/order-secret.ts';
import type { PodSetup } from '../../../src/executors/kubernetes/pod-setup.ts';
import { podFor } from '../../../src/executors/kubernetes/pod-template.ts';
import type { PodWishes } from '../../../src/protocol/pod-wishes.ts';
import type { RunOrder } from '../../../src/protocol/run-order.ts';
import { eventually } from '../../harness/eventually.ts';
import { decode, stageScriptIn, type Decoded, type StagedScript } from '../../runner/staged-script.ts';
import { aSetup } from '../../executors/kubernetes/made-order.ts';
import { projectImages } from '../project-images.ts';
import { CLAIM, own, type Ground } from './ground.ts';

export type Pod = Plain<V1Pod>;

/** A script in a pod of its own, made without an agent. */
export interface ScriptPod {
  readonly staged: StagedScript;
  readonly name: string;
}

/** Makes script pods in a namespace that enforces pod security. */
export class PodGround {
  readonly #ground: Ground;
  readonly #setup: PodSetup;

  constructor(ground: Ground) {
    this.#ground = ground;
    const { script: scriptImage, runner: runnerImage } = projectImages;
    this.#setup = {
      ...aSetup,
      ...{ namespace: ground.namespace, claim: CLAIM, scriptImage, runnerImage, imagePullPolicy: 'Never' },
    };
  }

  /** Stages a script, and makes its pod and then its Secret, as an agent does. */
  async launch(
    script: string,
    given: { order?: Partial<RunOrder>; wishes?: PodWishes; setup?: Partial<PodSetup> } = {},
  ): Promise<ScriptPod> {
    const packages = { 'packages/web.1.zip': 'the package' };
    const staged = stageScriptIn(
      this.#ground.folder,
      script,
      { deadlineMs: 600_000, ...given.order },
      packages,
    );
    own(`${this.#ground.folder}/longshore-v1`);
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
    return JSON.parse(await this.#ground.kubectl('get', 'pod', name, '-o', 'json')) as Pod;
  }

  /** Waits until the pod is in its last phase. */
  async ended(pod: ScriptPod, deadlineMs = 60_000): Promise<Pod> {
    const phase = async (): Promise<string> => (await this.podOf(pod)).status?.phase ?? '';
    await eventually(async () => ['Succeeded', 'Failed'].includes(await phase()), deadlineMs);
    return this.podOf(pod);
  }

  /** Ends what runs in the pod, as an agent cancels it. */
  async expire({ name }: ScriptPod): Promise<void> {
    const patch = JSON.stringify({ spec: { activeDeadlineSeconds: 1 } });
    await this.#ground.kubectl('patch', 'pod', name, '--type=merge', '-p', patch);
  }

  async logOf({ name, staged }: ScriptPod): Promise<Decoded> {
    return decode(Buffer.from(await this.#ground.kubectl('logs', name)), staged.key);
  }

  async #create<Made extends object>(made: Made): Promise<Made> {
    const args = ['create', '-f', '-', '-o', 'json', '--validate=strict'];
    // What comes back is what was sent, and what the API server adds.
    return JSON.parse(await this.#ground.cluster.kubectl(args, JSON.stringify(made))) as Made;
  }
}
