import { Fault } from '../../protocol/fault.ts';
import type { ApiCaller } from './api-call.ts';
import { ApiRefusal, isPassing } from './api-error.ts';
import { notNow } from './pod-calls.ts';
import type { PodOwner } from './pod-setup.ts';

/** Looks up the Deployment that owns what the agent makes, once it was found for as long as the agent lives. */
export class PodOwnership {
  readonly #connection: ApiCaller;
  readonly #podOwner: string | undefined;
  #owner: Promise<PodOwner | undefined> | undefined;

  /** `podOwner` is the name of a Deployment of the namespace; without one nobody owns anything. */
  constructor(connection: ApiCaller, podOwner: string | undefined) {
    this.#connection = connection;
    this.#podOwner = podOwner;
  }

  /** @throws {Fault} CLUSTER_POD_REFUSED where it cannot be read; CLUSTER_UNREACHABLE, and then it is asked for again. */
  async find(): Promise<PodOwner | undefined> {
    this.#owner ??= this.#lookUp();
    try {
      return await this.#owner;
    } catch (error) {
      this.#owner = undefined;
      throw error;
    }
  }

  async #lookUp(): Promise<PodOwner | undefined> {
    const podOwner = this.#podOwner;
    if (podOwner === undefined) return undefined;
    const path = `/apis/apps/v1/namespaces/${this.#connection.namespace}/deployments/${podOwner}`;
    try {
      const { metadata } = await this.#connection.request<{ metadata: { uid: string } }>({
        verb: 'get',
        resource: 'deployments',
        path,
      });
      return { apiVersion: 'apps/v1', kind: 'Deployment', name: podOwner, uid: metadata.uid };
    } catch (error) {
      if (!(error instanceof ApiRefusal) || isPassing(error)) throw notNow('the owner of the pods', error);
      const says = `podOwner names the Deployment ${podOwner}, which cannot be read: ${error.message}`;
      throw new Fault('CLUSTER_POD_REFUSED', says, { cause: error, detail: { evidence: { podOwner } } });
    }
  }
}
