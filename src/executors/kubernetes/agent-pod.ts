import { randomBytes } from 'node:crypto';
import type { CoreV1Event, V1Pod } from '@kubernetes/client-node';
import { Fault } from '../../protocol/fault.ts';
import { pathFor, type ApiCaller } from './api-call.ts';
import { ApiRefusal } from './api-error.ts';
import type { Plain } from './api-object.ts';
import { notNow } from './pod-calls.ts';

/** Something that whoever looks at the pod of the agent should read there. */
export interface PodNews {
  readonly type: 'Normal' | 'Warning';
  /** One word, as Kubernetes has them: `StorageLost`. */
  readonly reason: string;
  readonly message: string;
}

const COMPONENT = 'longshore';
/** Source: Kubernetes API, core/v1 Event, validation of `message`. */
const MAX_MESSAGE_CHARACTERS = 1024;

/** The pod that the agent itself runs in. */
export class AgentPod {
  readonly #connection: ApiCaller;
  readonly #name: string;

  constructor(connection: ApiCaller, name: string) {
    this.#connection = connection;
    this.#name = name;
  }

  /** Records an Event on the pod, which `kubectl describe` shows. @throws {Fault} CLUSTER_UNREACHABLE */
  async tell(news: PodNews, at: Date): Promise<void> {
    const { namespace } = this.#connection;
    const { metadata } = await this.#find();
    const time = at.toISOString() as unknown as Date;
    const body: Plain<CoreV1Event> = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: `${this.#name}.${randomBytes(8).toString('hex')}`, namespace },
      involvedObject: {
        ...{ apiVersion: 'v1', kind: 'Pod', name: this.#name, namespace },
        ...(metadata?.uid !== undefined && { uid: metadata.uid }),
      },
      ...{ type: news.type, reason: news.reason, message: news.message.slice(0, MAX_MESSAGE_CHARACTERS) },
      ...{ count: 1, firstTimestamp: time, lastTimestamp: time, source: { component: COMPONENT } },
    };
    const path = pathFor(namespace, 'events');
    await this.#call('an Event', () =>
      this.#connection.request({ verb: 'create', resource: 'events', path, body }),
    );
  }

  /**
   * Deletes the pod, so that whatever owns it makes another one with a mount of its own. A container that is started
   * again would keep the mount of the pod.
   *
   * @throws {Fault} CLUSTER_UNREACHABLE
   */
  async replace(): Promise<void> {
    const path = pathFor(this.#connection.namespace, 'pods', this.#name);
    const { metadata } = await this.#find();
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid: metadata?.uid } };
    await this.#call('the deletion of the pod of the agent', () =>
      this.#connection.request({ verb: 'delete', resource: 'pods', path, body }),
    );
  }

  async #find(): Promise<Plain<V1Pod>> {
    const path = pathFor(this.#connection.namespace, 'pods');
    const query = { fieldSelector: `metadata.name=${this.#name}` };
    const { items } = await this.#call('the list of pods', () =>
      this.#connection.request<{ items?: Plain<V1Pod>[] }>({ verb: 'list', resource: 'pods', path, query }),
    );
    const [pod] = items ?? [];
    if (pod) return pod;
    throw new Fault('CLUSTER_UNREACHABLE', `podName names ${this.#name}, and there is no such pod`);
  }

  async #call<T>(what: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw error instanceof ApiRefusal ? notNow(what, error) : error;
    }
  }
}
