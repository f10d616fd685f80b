import type { V1Pod } from '@kubernetes/client-node';
import { Fault } from '../../protocol/fault.ts';
import type { ScriptKey } from '../../protocol/ticket.ts';
import { pathFor, type ApiCaller } from './api-call.ts';
import { ApiRefusal } from './api-error.ts';
import type { Plain } from './api-object.ts';
import { podNameFor, podSelectorFor } from './pod-names.ts';

type Pod = Plain<V1Pod>;

interface PodList {
  readonly items?: readonly Pod[];
}

/** The calls of the API on the one pod of a script; that it is not there is a value, not an error. */
export class PodCalls {
  readonly #connection: ApiCaller;
  readonly #group: string;

  constructor(connection: ApiCaller, group: string) {
    this.#connection = connection;
    this.#group = group;
  }

  /**
   * Asks the API server itself for the pod of a script, which no watch is as sure as.
   *
   * @throws {Fault} CLUSTER_UNREACHABLE when it does not tell.
   */
  async find(key: ScriptKey): Promise<Pod | undefined> {
    return this.#list(key, { labelSelector: podSelectorFor(this.#group) });
  }

  /** The same for whatever pod has the name, also that of another group of agents. */
  async findNamed(key: ScriptKey): Promise<Pod | undefined> {
    return this.#list(key, {});
  }

  /**
   * Deletes `pod`, that one and no later one of its name; false where it is gone already.
   *
   * @throws {Fault} CLUSTER_UNREACHABLE when it was not deleted, so that it may be tried again.
   */
  async delete(key: ScriptKey, pod: Pod, gracePeriodSeconds: number): Promise<boolean> {
    const uid = pod.metadata?.uid;
    const preconditions = uid === undefined ? {} : { preconditions: { uid } };
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds, ...preconditions };
    return unlessAbsent(
      this.#connection.request({ verb: 'delete', resource: 'pods', path: this.#path(key), body }),
    );
  }

  /**
   * Lets the kubelet end the pod as at its deadline, which leaves the object and its log; false where it is gone.
   *
   * @throws {Fault} CLUSTER_UNREACHABLE when the API server did not take it, so that it may be tried again.
   */
  async expire(key: ScriptKey): Promise<boolean> {
    const body = { spec: { activeDeadlineSeconds: 1 } };
    return unlessAbsent(
      this.#connection.request({ verb: 'patch', resource: 'pods', path: this.#path(key), body }),
    );
  }

  async #list(key: ScriptKey, selector: Readonly<Record<string, string>>): Promise<Pod | undefined> {
    const path = pathFor(this.#connection.namespace, 'pods');
    const query = { ...selector, fieldSelector: `metadata.name=${podNameFor(key)}` };
    try {
      const list = await this.#connection.request<PodList>({ verb: 'list', resource: 'pods', path, query });
      return list.items?.[0];
    } catch (error) {
      throw notNow('the list of pods', error);
    }
  }

  #path(key: ScriptKey): string {
    return pathFor(this.#connection.namespace, 'pods', podNameFor(key));
  }
}

/** The fault for an API server that answered and did not do what it was asked; any other error as it is. */
export function notNow(what: string, error: unknown): unknown {
  if (!(error instanceof ApiRefusal)) return error;
  const { status, message } = error;
  return new Fault('CLUSTER_UNREACHABLE', `the API server refused ${what}: ${message}`, {
    cause: error,
    detail: { evidence: { status, message } },
  });
}

async function unlessAbsent(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    if (error instanceof ApiRefusal && error.status === 404) return false;
    throw notNow('a change of the pod', error);
  }
}
