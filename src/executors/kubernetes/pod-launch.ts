import { randomBytes } from 'node:crypto';
import { Fault } from '../../protocol/fault.ts';
import type { PodWishes } from '../../protocol/pod-wishes.ts';
import type { RunOrder } from '../../protocol/run-order.ts';
import type { ScriptKey } from '../../protocol/ticket.ts';
import { pathFor, type ApiCaller } from './api-call.ts';
import { ApiRefusal, isPassing } from './api-error.ts';
import { refusalFor } from './creation-refusal.ts';
import { assertFits, orderSecretFor, orderSecretNameOf } from './order-secret.ts';
import { missingPermissions, PERMISSIONS, type Permission } from './permissions.ts';
import type { PodCalls } from './pod-calls.ts';
import { GROUP_LABEL, podNameFor } from './pod-names.ts';
import type { PodOwnership } from './pod-ownership.ts';
import type { PodSetup } from './pod-setup.ts';
import { podFor } from './pod-template.ts';
import type { Pod } from './pod-watch.ts';

export interface PodLaunchOptions {
  readonly connection: ApiCaller;
  readonly calls: PodCalls;
  readonly setup: Omit<PodSetup, 'namespace' | 'owner'>;
  readonly owner: PodOwnership;
}

/**
 * Makes the pod of a script and then the Secret that it waits for.
 *
 * The pod comes first, so that it owns the Secret from the start. An agent that dies between the two leaves a pod that
 * waits; the next launch finds it by its name and makes the Secret that it asks for.
 */
export class PodLaunch {
  readonly #options: PodLaunchOptions;

  constructor(options: PodLaunchOptions) {
    this.#options = options;
  }

  /** @throws {Fault} CLUSTER_FORBIDDEN that names every right that is missing. An API server that is away is not asked again. */
  static async check(connection: ApiCaller, podOwner: string | undefined): Promise<void> {
    try {
      const missing = await missingPermissions(connection, neededPermissions(podOwner));
      if (missing.length === 0) return;
      const names = missing.map(({ verb, resource }) => `${verb} ${resource}`).join(', ');
      throw new Fault('CLUSTER_FORBIDDEN', `the agent lacks rights in ${connection.namespace}: ${names}`, {
        detail: { missing: missing.map(({ verb, resource, group }) => ({ verb, resource, group })) },
      });
    } catch (error) {
      const isAway = error instanceof Fault && error.code === 'CLUSTER_UNREACHABLE';
      // What stands in front of an API server answers for it with 502 or 503.
      if (isAway || isPassing(error)) return;
      throw error;
    }
  }

  /**
   * Returns the pod that runs `order`, made now or found.
   *
   * @throws {Fault} the CLUSTER_ code of a refusal; RUNNER_NOT_STARTED while an earlier pod of the name goes away.
   */
  async launch(
    order: RunOrder,
    wishes: PodWishes | undefined,
    labels: Readonly<Record<string, string>> = {},
  ): Promise<Pod> {
    const { connection, setup } = this.#options;
    assertFits(order);
    const owner = await this.#options.owner.find();
    const suffix = randomBytes(4).toString('hex');
    const pod = podFor(
      { order, suffix, labels, ...(wishes && { wishes }) },
      { ...setup, namespace: connection.namespace, ...(owner && { owner }) },
    );
    const made = (await this.#create('pods', pod, 'the pod')) ?? (await this.#adopted(order.key));
    await this.#create('secrets', orderSecretFor(made, order), 'the Secret of the pod');
    return made;
  }

  /** Returns the object as it was made; undefined where one of its name is there. */
  async #create<T>(resource: 'pods' | 'secrets', body: T, what: string): Promise<T | undefined> {
    const { connection } = this.#options;
    try {
      const path = pathFor(connection.namespace, resource);
      return await connection.request<T>({ verb: 'create', resource, path, body });
    } catch (error) {
      if (!(error instanceof ApiRefusal)) throw error;
      if (error.status === 409 && error.reason === 'AlreadyExists') return undefined;
      const { code, says, evidence } = refusalFor(error, what);
      throw new Fault(code, says, { cause: error, detail: { evidence } });
    }
  }

  async #adopted(key: ScriptKey): Promise<Pod> {
    const found = await this.#options.calls.findNamed(key);
    const name = podNameFor(key);
    if (found === undefined) throw notYet(`a pod ${name} was there and is gone`);
    const { labels, deletionTimestamp } = found.metadata ?? {};
    const group = labels?.[GROUP_LABEL] ?? 'nobody';
    if (group !== this.#options.setup.podGroup || orderSecretNameOf(found) === undefined) {
      throw new Fault(
        'CLUSTER_POD_REFUSED',
        `the name ${name} is taken by a pod that is none of ours, of ${group}`,
        {
          detail: { evidence: { name, group } },
        },
      );
    }
    if (deletionTimestamp !== undefined) throw notYet(`an earlier pod ${name} is still going away`);
    return found;
  }
}

function neededPermissions(podOwner: string | undefined): Permission[] {
  return PERMISSIONS.filter(({ resource }) => podOwner !== undefined || resource !== 'deployments');
}

function notYet(says: string): Fault {
  return new Fault('RUNNER_NOT_STARTED', says);
}
