import type { ApiEvent } from '../../../src/executors/kubernetes/api-call.ts';
import { KubeConnection } from '../../../src/executors/kubernetes/connection.ts';
import {
  KubernetesExecutor,
  type KubernetesExecutorOptions,
} from '../../../src/executors/kubernetes/kubernetes-executor.ts';
import { ownLabelsFor, podNameFor } from '../../../src/executors/kubernetes/pod-names.ts';
import type { PhaseEvent } from '../../../src/executors/kubernetes/pod-watch.ts';
import type { RunOrder, StartedClaim } from '../../../src/protocol/run-order.ts';
import { scriptKeyFor, type ScriptKey } from '../../../src/protocol/ticket.ts';
import { FakeApiServer, type Exchange, type SeenCall } from '../../harness/fake-api-server.ts';
import { FakeLog } from '../../harness/fake-log.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { anOrder, aSetup } from './made-order.ts';
import { MadeObjects, type MadeObject } from './made-objects.ts';
import { running, silent, target, terminated } from './made-status.ts';

type Test = { teardown: (work: () => unknown) => void };
type Json = Readonly<Record<string, unknown>>;

export const key = anOrder.key;
export const podName = podNameFor(key);
export const { namespace: _namespace, ...setup } = aSetup;

/** What a runner in a pod of ours says in `out/started`. */
export const claim: StartedClaim = {
  by: 'runner',
  ...{ pid: 7, startTicks: '1', bootId: 'boot', host: podName, stdout: null, at: '2026-11-24T10:00:05Z' },
};

/** The order of another script. */
export function orderOf(ticket: string): RunOrder {
  return { ...anOrder, key: scriptKeyFor('octopus', ticket as RunOrder['ticket']) };
}

/** An API server with pods, Secrets, events and logs, and nobody behind it: the test is scheduler and kubelet. */
export class MadeCluster {
  readonly server: FakeApiServer;
  readonly pods = new MadeObjects();
  readonly events = new MadeObjects();
  readonly secrets = new Map<string, Json>();
  readonly log = new FakeLog();
  readonly observed: (ApiEvent | PhaseEvent)[] = [];
  /** Rights that the agent lacks, as `verb resource`. */
  readonly denied = new Set<string>();
  owner: string | undefined;
  /** Pods that are deleted wait for their kubelet. */
  lingers = false;
  /** Sees each call first; true where it has dealt with it. */
  before: (name: string, exchange: Exchange) => boolean = () => false;
  readonly #t: Test;

  private constructor(t: Test, server: FakeApiServer) {
    this.#t = t;
    this.server = server;
    server.answer = (exchange) => this.#answer(exchange);
  }

  static async start(t: Test): Promise<MadeCluster> {
    return new MadeCluster(t, await FakeApiServer.start(t));
  }

  async connection(requestDeadlineMs = 5000): Promise<KubeConnection> {
    const kubeconfig = this.server.kubeconfig({ token: 'x' });
    const observe = (event: ApiEvent): void => void this.observed.push(event);
    const connection = await KubeConnection.open({ kubeconfig, requestDeadlineMs, observe });
    this.#t.teardown(() => connection.close());
    return connection;
  }

  async agent(changes: Partial<KubernetesExecutorOptions> = {}): Promise<KubernetesExecutor> {
    const executor = await KubernetesExecutor.open({
      setup,
      kubeconfig: this.server.kubeconfig({ token: 'x' }),
      apiDeadlineMs: 5000,
      logSpoolBytes: 2 ** 20,
      stateFolder: temporaryFolder(this.#t),
      observe: (event) => void this.observed.push(event),
      ...changes,
    });
    this.#t.teardown(() => executor.close());
    return executor;
  }

  /** The calls of that name, `verb resource`, so far. */
  calls(name: string): SeenCall[] {
    return this.server.calls.filter((call) => nameOf(call) === name);
  }

  /** The same for lists of one pod, which ask for what a watch may not know yet. */
  lookups(): SeenCall[] {
    return this.calls('list pods').filter(({ query }) => 'fieldSelector' in query);
  }

  /** Makes a pod of a script as an agent would have; `group` is whose it is. */
  makePod(of: ScriptKey = key, group: string = setup.podGroup, spec: Json = podSpec): void {
    this.pods.put(podNameFor(of), { metadata: { namespace: 'team', labels: ownLabelsFor(group) }, spec });
  }

  runs(of: ScriptKey = key): void {
    this.pods.patch(podNameFor(of), { status: { phase: 'Running', containerStatuses: [running] } });
  }

  ends(exitCode = 0, of: ScriptKey = key): void {
    const containerStatuses = [terminated(exitCode, exitCode === 0 ? 'Completed' : 'Error')];
    this.pods.patch(podNameFor(of), { status: { phase: 'Succeeded', containerStatuses } });
    this.log.finish();
  }

  /** The node of the pod does not report any more, and the node controller gives the pod up. */
  losesNode(): void {
    const conditions = [...silent, target('DeletionByTaintManager', 'Taint manager: deleting')];
    this.pods.patch(podName, { status: { phase: 'Running', conditions, containerStatuses: [running] } });
  }

  says(name: string, reason: string, message: string, rest: Json = {}): void {
    const uid = this.pods.all.get(podName)?.metadata.uid;
    const about = { kind: 'Pod', name: podName, ...(uid !== undefined && { uid }) };
    this.events.put(name, { involvedObject: about, type: 'Normal', reason, message, ...rest });
  }

  async #answer(exchange: Exchange): Promise<void> {
    const name = nameOf(exchange.call);
    if (this.before(name, exchange)) return;
    if (name === 'create pods') return this.#createPod(exchange);
    if (name === 'list pods' || name === 'watch pods') return this.pods.answer(exchange);
    if (name === 'list events' || name === 'watch events') return this.events.answer(exchange);
    if (name === 'create secrets') return this.#createSecret(exchange);
    if (name === 'create selfsubjectaccessreviews') return this.#review(exchange);
    if (name === 'get deployments') return this.#getOwner(exchange);
    const pod = this.pods.all.get(exchange.call.path.split('/')[6] ?? '');
    if (pod === undefined) return exchange.refuse(404, 'NotFound', `pods "${podName}" not found`);
    if (name === 'get pods/log') return this.log.answer(exchange);
    if (name === 'patch pods') return this.#patchPod(exchange, pod.metadata.name);
    this.#deletePod(exchange, pod.metadata);
  }

  #createPod(exchange: Exchange): void {
    const body = exchange.call.body as Json & { readonly metadata: { readonly name: string } };
    const { name } = body.metadata;
    if (this.pods.all.has(name)) return alreadyThere(exchange, 'pods', name);
    exchange.json(201, this.pods.put(name, body));
  }

  #createSecret(exchange: Exchange): void {
    const body = exchange.call.body as Json & { readonly metadata: { readonly name: string } };
    if (this.secrets.has(body.metadata.name)) return alreadyThere(exchange, 'secrets', body.metadata.name);
    this.secrets.set(body.metadata.name, body);
    exchange.json(201, body);
  }

  #review(exchange: Exchange): void {
    const { spec } = exchange.call.body as { readonly spec: { readonly resourceAttributes: Json } };
    const { verb, resource, subresource } = spec.resourceAttributes;
    const right = [verb, [resource, subresource].filter(Boolean).join('/')].join(' ');
    exchange.json(201, { status: { allowed: !this.denied.has(right) } });
  }

  #getOwner(exchange: Exchange): void {
    if (this.owner === undefined) return exchange.refuse(404, 'NotFound', 'deployments.apps not found');
    exchange.json(200, { metadata: { uid: this.owner } });
  }

  #patchPod(exchange: Exchange, name: string): void {
    const { spec } = exchange.call.body as { readonly spec: Json };
    const pod = this.pods.all.get(name);
    this.pods.patch(name, { spec: { ...(pod?.['spec'] as Json), ...spec } });
    exchange.json(200, this.pods.all.get(name));
  }

  #deletePod(exchange: Exchange, { name, uid, deletionTimestamp: goes }: MadeObject['metadata']): void {
    const options = exchange.call.body as {
      readonly gracePeriodSeconds: number;
      readonly preconditions?: { readonly uid: string };
    };
    if (options.preconditions && options.preconditions.uid !== uid)
      return exchange.refuse(409, 'Conflict', 'the UID in the precondition does not match the UID in record');
    const { gracePeriodSeconds } = options;
    // A second deletion with the same grace does not give more of it.
    const deletionTimestamp = goes ?? new Date(Date.now() + gracePeriodSeconds * 1000).toISOString();
    this.pods.patch(name, {}, { deletionTimestamp, deletionGracePeriodSeconds: gracePeriodSeconds });
    if (!this.lingers || gracePeriodSeconds === 0) this.pods.remove(name);
    exchange.json(200, { kind: 'Status', status: 'Success' });
  }
}

/** The part of a pod of ours that says which Secret it waits for. */
export const podSpec: Json = {
  nodeName: 'node-a',
  containers: [{ name: 'script' }],
  volumes: [{ name: 'order', secret: { secretName: `${podName}-0badcafe` } }],
};

function alreadyThere(exchange: Exchange, resource: string, name: string): void {
  exchange.refuse(409, 'AlreadyExists', `${resource} "${name}" already exists`);
}

const VERBS: Readonly<Record<string, string>> = { POST: 'create', PATCH: 'patch', DELETE: 'delete' };

/** The verb and the resource of a call. */
function nameOf({ method, path, query }: SeenCall): string {
  const parts = path.split('/').slice(path.startsWith('/apis') ? 4 : 3);
  const [plural = '', name, subresource] = parts[0] === 'namespaces' ? parts.slice(2) : parts;
  const reading = name !== undefined ? 'get' : 'watch' in query ? 'watch' : 'list';
  return `${VERBS[method] ?? reading} ${[plural, subresource].filter(Boolean).join('/')}`;
}
