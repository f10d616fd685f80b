import type { V1ConfigMap } from '@kubernetes/client-node';
import type { ScriptKey } from '../../protocol/ticket.ts';
import type { ScriptKeep } from '../executor.ts';
import { pathFor, type ApiCaller } from './api-call.ts';
import { ApiRefusal } from './api-error.ts';
import type { Plain } from './api-object.ts';
import { notNow } from './pod-calls.ts';
import { ownLabelsFor, podNameFor, podSelectorFor, scriptKeyOf } from './pod-names.ts';
import type { PodOwner } from './pod-setup.ts';

type ConfigMap = Plain<V1ConfigMap>;

interface ConfigMapList {
  readonly items?: readonly ConfigMap[];
}

export interface KeepMapsOptions {
  readonly connection: ApiCaller;
  readonly group: string;
  readonly owner: () => Promise<PodOwner | undefined>;
}

const RESOURCE = 'configmaps';
const ENTRY = 'kept';

/** Keeps one ConfigMap a script, of the name of its pod and with the labels of its group; the owner of the pods owns it. */
export class KeepMaps implements ScriptKeep {
  readonly #options: KeepMapsOptions;

  constructor(options: KeepMapsOptions) {
    this.#options = options;
  }

  async put(key: ScriptKey, text: string): Promise<void> {
    const { connection } = this.#options;
    const body = await this.#mapFor(key, text);
    const path = pathFor(connection.namespace, RESOURCE);
    const created = await this.#unless(409, () =>
      connection.request({ verb: 'create', resource: RESOURCE, path, body }),
    );
    if (created) return;
    const data = { data: { [ENTRY]: text } };
    // Somebody may remove it in between; then the caller tries again.
    await this.#unless(undefined, () =>
      connection.request({ verb: 'patch', resource: RESOURCE, path: this.#path(key), body: data }),
    );
  }

  async all(): Promise<ReadonlyMap<ScriptKey, string>> {
    const { connection, group } = this.#options;
    const path = pathFor(connection.namespace, RESOURCE);
    const query = { labelSelector: podSelectorFor(group) };
    const kept = new Map<ScriptKey, string>();
    await this.#unless(undefined, async () => {
      const list = await connection.request<ConfigMapList>({ verb: 'list', resource: RESOURCE, path, query });
      for (const { metadata, data } of list.items ?? []) {
        const key = scriptKeyOf(metadata?.name ?? '');
        const text = data?.[ENTRY];
        if (key !== undefined && text !== undefined) kept.set(key, text);
      }
    });
    return kept;
  }

  async forget(key: ScriptKey): Promise<void> {
    const { connection } = this.#options;
    await this.#unless(404, () =>
      connection.request({ verb: 'delete', resource: RESOURCE, path: this.#path(key) }),
    );
  }

  async #mapFor(key: ScriptKey, text: string): Promise<ConfigMap> {
    const { connection, group, owner } = this.#options;
    const owned = await owner();
    return {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name: podNameFor(key),
        namespace: connection.namespace,
        labels: ownLabelsFor(group),
        ...(owned && { ownerReferences: [owned] }),
      },
      data: { [ENTRY]: text },
    };
  }

  #path(key: ScriptKey): string {
    return pathFor(this.#options.connection.namespace, RESOURCE, podNameFor(key));
  }

  /** Makes a call; false where the API server refused it with `status`. */
  async #unless(status: number | undefined, call: () => Promise<unknown>): Promise<boolean> {
    try {
      await call();
      return true;
    } catch (error) {
      if (error instanceof ApiRefusal && error.status === status) return false;
      throw notNow('what is kept of a script', error);
    }
  }
}
