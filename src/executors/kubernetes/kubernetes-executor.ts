import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '../../protocol/fault.ts';
import type { PodWishes } from '../../protocol/pod-wishes.ts';
import type { RunOrder, StartedClaim } from '../../protocol/run-order.ts';
import type { ScriptKey } from '../../protocol/ticket.ts';
import type { Executor, Sighting, Witness } from '../executor.ts';
import { pathFor, type ApiEvent } from './api-call.ts';
import { ApiRefusal } from './api-error.ts';
import { KubeConnection } from './connection.ts';
import { podEventLine, type PodEvent } from './pod-event.ts';
import type { PodView } from './pod-failure.ts';
import { PodLaunch } from './pod-launch.ts';
import { podNameFor } from './pod-names.ts';
import { PodOutputs } from './pod-outputs.ts';
import type { PodSetup } from './pod-setup.ts';
import { PodWatch, type PhaseEvent, type Pod } from './pod-watch.ts';

export interface KubernetesExecutorOptions {
  /** Without what the cluster itself tells: the namespace and the owner. */
  readonly setup: Omit<PodSetup, 'namespace' | 'owner'>;
  readonly kubeconfig?: string | undefined;
  readonly namespace?: string | undefined;
  /** Deployment of the namespace that owns the pods. */
  readonly podOwner?: string | undefined;
  readonly apiDeadlineMs: number;
  readonly logSpoolBytes: number;
  /** On local disk. */
  readonly stateFolder: string;
  readonly observe: (event: ApiEvent | PhaseEvent) => void;
}

type Watching = Parameters<Executor['watch']>[2];

const CLEAR_DEADLINE_MS = 30_000;
const REMOVAL_DEADLINE_MS = 10_000;
const POLL_MS = 100;
/** The kubelet ends what is left in so many seconds; 0 would only take the object away and leave the processes. */
const SHORT_GRACE_S = 1;

/**
 * Runs scripts as pods of a cluster, one bare pod a script.
 *
 * Nothing is remembered that the cluster does not tell again: one list and one watch know all pods, their names say
 * whose they are. What it cannot see, because the API server is away, it says to be doubtful, and the volume decides.
 */
export class KubernetesExecutor implements Executor {
  readonly kind = 'kubernetes';
  readonly #options: KubernetesExecutorOptions;
  readonly #connection: KubeConnection;
  readonly #launch: PodLaunch;
  readonly #pods: PodWatch;
  readonly #watching = new Map<ScriptKey, Watching>();
  readonly #outputs: PodOutputs;

  private constructor(options: KubernetesExecutorOptions, connection: KubeConnection) {
    const { setup, podOwner, observe } = options;
    this.#options = options;
    this.#connection = connection;
    this.#launch = new PodLaunch({ connection, setup, podOwner });
    this.#pods = new PodWatch({
      connection,
      group: setup.podGroup,
      changed: (key, event) => this.#changed(key, event),
      observe,
      nowMs: Date.now,
    });
    this.#outputs = new PodOutputs({
      ...{ connection, observe },
      folder: join(options.stateFolder, 'logs'),
      spoolBytes: options.logSpoolBytes,
      isOver: (key) => this.#hasEnded(key),
      changed: (key) => this.#watching.get(key)?.changed(),
    });
  }

  /**
   * Connects and lists what is there; with an API server that is away it goes on without.
   *
   * @throws {Fault} CONFIG_INVALID without credentials; CLUSTER_FORBIDDEN that names every right that is missing.
   */
  static async open(options: KubernetesExecutorOptions): Promise<KubernetesExecutor> {
    const { kubeconfig, namespace, apiDeadlineMs, observe } = options;
    const connection = await KubeConnection.open({
      ...{ kubeconfig, namespace, observe },
      requestDeadlineMs: apiDeadlineMs,
    });
    try {
      await PodLaunch.check(connection, options.podOwner);
    } catch (error) {
      await connection.close();
      throw error;
    }
    const executor = new KubernetesExecutor(options, connection);
    await executor.#outputs.clear();
    await executor.#pods.whenSynced(apiDeadlineMs);
    return executor;
  }

  async launch(order: RunOrder, wishes?: PodWishes): Promise<void> {
    const pod = await this.#launch.launch(order, wishes);
    this.#pods.note(order.key, pod);
  }

  async look(key: ScriptKey, claim: StartedClaim | undefined): Promise<Sighting> {
    const pod = this.#pods.pod(podNameFor(key), key);
    if (pod) return this.#sighting(key, pod);
    if (claim?.by !== 'runner') return { presence: 'none' };
    if (this.#pods.isDoubtful) return { presence: 'alive', maybeOver: true };
    // Another agent may have made it, and the watch be a moment late: only a list is sure.
    const found = await this.#launch.find(key);
    if (found) {
      this.#pods.note(key, found);
      return this.#sighting(key, found);
    }
    return { presence: 'gone', exitCode: null, signal: null, trouble: this.#pods.whyGone(key) };
  }

  async stop(key: ScriptKey, claim: StartedClaim | undefined): Promise<boolean> {
    if (claim?.by !== 'runner') return this.#delete(key, SHORT_GRACE_S);
    return this.#unlessAbsent(
      this.#connection.request({
        verb: 'patch',
        resource: 'pods',
        path: this.#path(key),
        // A deletion would take the log away before it was read.
        body: { spec: { activeDeadlineSeconds: 1 } },
      }),
    );
  }

  async clear(key: ScriptKey): Promise<void> {
    const until = Date.now() + CLEAR_DEADLINE_MS;
    let asked = false;
    for (;;) {
      const pod = this.#pods.pod(podNameFor(key), key);
      if (pod === undefined && !this.#pods.isDoubtful) return;
      const view = pod && this.#pods.view(key, pod);
      if (view?.state === 'ended') return;
      // Nobody is there who could end it; at most once rests on the claim, not on this pod.
      const isLost = view?.trouble?.code === 'CLUSTER_NODE_LOST' && view.trouble.final;
      if (isLost) {
        await this.#delete(key, 0);
        return;
      }
      if (!asked) asked = await this.#delete(key, SHORT_GRACE_S);
      if (!asked) return;
      if (Date.now() > until) {
        throw new Fault(
          'RUNNER_FAILED',
          `the pod of ${key} does not end: its processes stand in a system call`,
        );
      }
      await delay(POLL_MS);
    }
  }

  async witness(key: ScriptKey): Promise<Witness | undefined> {
    const pod = this.#pods.pod(podNameFor(key), key);
    const output =
      this.#outputs.of(key) ?? (pod && hasBegun(pod) ? await this.#outputs.open(key) : undefined);
    // Asked for after its script was over: what nobody has followed is fetched first.
    if (output && !this.#watching.has(key) && this.#hasEnded(key)) {
      const deadline = delay(this.#options.apiDeadlineMs, undefined, { ref: false });
      await Promise.race([output.whenComplete(), deadline]);
    }
    return output?.openWitness();
  }

  watch(key: ScriptKey, _claim: StartedClaim | undefined, watch: Watching): void {
    this.#watching.set(key, watch);
    watch.signal.addEventListener('abort', () => this.#unwatch(key, watch), { once: true });
    for (const event of this.#pods.events(key)) this.#tell(watch, event);
    this.#changed(key, undefined);
  }

  async remove(key: ScriptKey): Promise<void> {
    this.#watching.delete(key);
    await this.#outputs.remove(key);
    if (await this.#delete(key, SHORT_GRACE_S)) await this.#untilGone(key);
    this.#pods.forget(key);
  }

  async keys(): Promise<readonly ScriptKey[]> {
    return this.#pods.keys;
  }

  async prepare(): Promise<void> {
    // A pod for a script that is not there yet would hold its place on a node for nothing.
  }

  /** How many pods there are, by what their status says. */
  get counts(): ReadonlyMap<PodView['state'], number> {
    const counts = new Map<PodView['state'], number>();
    for (const key of this.#pods.keys) {
      const pod = this.#pods.pod(podNameFor(key), key);
      if (pod === undefined) continue;
      const { state } = this.#pods.view(key, pod);
      counts.set(state, (counts.get(state) ?? 0) + 1);
    }
    return counts;
  }

  async close(): Promise<void> {
    this.#watching.clear();
    await this.#pods.close();
    await this.#outputs.close();
    await this.#connection.close();
  }

  #sighting(key: ScriptKey, pod: Pod): Sighting {
    const view = this.#pods.view(key, pod);
    if (view.state !== 'ended') {
      const isDoubtful = this.#pods.isDoubtful || this.#outputs.of(key)?.hasEnded === true;
      const { trouble } = view;
      return { presence: 'alive', ...(trouble && { trouble }), ...(isDoubtful && { maybeOver: true }) };
    }
    const { exitCode, signal, failure } = view;
    // The last lines are on their way; the log is asked for them until they came, or a deadline has passed.
    const isRead = !this.#watching.has(key) || !hasBegun(pod) || this.#outputs.isDone(key);
    return isRead
      ? { presence: 'gone', exitCode, signal, ...(failure && { trouble: failure }) }
      : { presence: 'alive', maybeOver: true };
  }

  #changed(key: ScriptKey, event: PodEvent | undefined): void {
    const watch = this.#watching.get(key);
    if (watch === undefined) return;
    if (event) this.#tell(watch, event);
    const pod = this.#pods.pod(podNameFor(key), key);
    if (pod && hasBegun(pod)) void this.#outputs.open(key);
    this.#outputs.of(key)?.wake();
    watch.changed();
  }

  #tell(watch: Watching, event: PodEvent): void {
    const line = podEventLine(event);
    if (line) watch.says?.(line);
  }

  #unwatch(key: ScriptKey, watch: Watching): void {
    if (this.#watching.get(key) === watch) this.#watching.delete(key);
  }

  /** The container has ended, or its pod is gone. */
  #hasEnded(key: ScriptKey): boolean {
    const pod = this.#pods.pod(podNameFor(key), key);
    return pod === undefined ? !this.#pods.isDoubtful : this.#pods.view(key, pod).state === 'ended';
  }

  async #delete(key: ScriptKey, gracePeriodSeconds: number): Promise<boolean> {
    return this.#unlessAbsent(
      this.#connection.request({
        verb: 'delete',
        resource: 'pods',
        path: this.#path(key),
        body: { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds },
      }),
    );
  }

  async #untilGone(key: ScriptKey): Promise<void> {
    const until = Date.now() + REMOVAL_DEADLINE_MS;
    while (this.#pods.pod(podNameFor(key), key) && Date.now() < until) await delay(POLL_MS);
  }

  async #unlessAbsent(call: Promise<unknown>): Promise<boolean> {
    try {
      await call;
      return true;
    } catch (error) {
      if (error instanceof ApiRefusal && error.status === 404) return false;
      throw error instanceof ApiRefusal
        ? new Fault('CLUSTER_UNREACHABLE', `the API server refused: ${error.message}`, { cause: error })
        : error;
    }
  }

  #path(key: ScriptKey): string {
    return pathFor(this.#connection.namespace, 'pods', podNameFor(key));
  }
}

/** The container was started at least once: before that there is no log. */
function hasBegun({ status }: Pod): boolean {
  return status?.containerStatuses?.some(({ state }) => state?.running ?? state?.terminated) === true;
}
