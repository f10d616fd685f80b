import { join } from 'node:path';
import { Fault } from '../../protocol/fault.ts';
import type { PodWishes } from '../../protocol/pod-wishes.ts';
import type { RunOrder, StartedClaim } from '../../protocol/run-order.ts';
import type { ScriptKey } from '../../protocol/ticket.ts';
import type { Executor, Sighting, Trouble, Witness } from '../executor.ts';
import { AgentPod } from './agent-pod.ts';
import type { ApiEvent } from './api-call.ts';
import { KubeConnection } from './connection.ts';
import { withDeadline } from './deadline.ts';
import { KeepMaps } from './keep-maps.ts';
import { PodCalls } from './pod-calls.ts';
import { podEventLine, type PodEvent } from './pod-event.ts';
import type { PodView } from './pod-failure.ts';
import { PodLaunch } from './pod-launch.ts';
import { SCRIPT_CONTAINER } from './pod-names.ts';
import type { PodOutput } from './pod-output.ts';
import { PodOutputs } from './pod-outputs.ts';
import { PodOwnership } from './pod-ownership.ts';
import { PodRemoval } from './pod-removal.ts';
import type { PodSetup } from './pod-setup.ts';
import { PodWatch, type PhaseEvent, type Pod } from './pod-watch.ts';
import { ScriptWatches, type ScriptWatch } from './script-watches.ts';
import { launchTroubleIn } from './server-doubt.ts';

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
  /** How long a pod that is cleared away may take to end. @default 30 s */
  readonly clearDeadlineMs?: number;
  /** How long remove() waits for a pod to be gone. @default 10 s */
  readonly removalDeadlineMs?: number;
  /** After so long without a word the API server is asked whether it is there. @default 10 s */
  readonly quietMs?: number;
}

/** The log was not read to its end, or whoever would say that the pod is gone is away: the volume may know. */
const DOUBTFUL: Sighting = { presence: 'alive', maybeOver: true };

/**
 * Runs scripts as pods of a cluster, one bare pod a script.
 *
 * Nothing is remembered that the cluster does not tell again: one list and one watch know all pods, their names say
 * whose they are. What it cannot see, because the API server is away, it says to be doubtful, and the volume decides.
 */
export class KubernetesExecutor implements Executor {
  readonly kind = 'kubernetes';
  readonly keep: KeepMaps;
  readonly #options: KubernetesExecutorOptions;
  readonly #connection: KubeConnection;
  readonly #calls: PodCalls;
  readonly #launch: PodLaunch;
  readonly #pods: PodWatch;
  readonly #removal: PodRemoval;
  readonly #watches = new ScriptWatches();
  readonly #outputs: PodOutputs;

  private constructor(options: KubernetesExecutorOptions, connection: KubeConnection) {
    const { setup, podOwner, observe, quietMs } = options;
    this.#options = options;
    this.#connection = connection;
    this.#calls = new PodCalls(connection, setup.podGroup);
    const owner = new PodOwnership(connection, podOwner);
    this.keep = new KeepMaps({ connection, group: setup.podGroup, owner: () => owner.find() });
    this.#launch = new PodLaunch({ connection, calls: this.#calls, setup, owner });
    this.#pods = new PodWatch({
      connection,
      group: setup.podGroup,
      changed: (key, event) => this.#changed(key, event),
      ...{ observe, nowMs: Date.now, quietMs },
    });
    const { clearDeadlineMs, removalDeadlineMs } = options;
    this.#removal = new PodRemoval({
      ...{ calls: this.#calls, pods: this.#pods },
      ...{ clearDeadlineMs, removalDeadlineMs },
    });
    this.#outputs = new PodOutputs({
      ...{ connection, observe },
      folder: join(options.stateFolder, 'logs'),
      spoolBytes: options.logSpoolBytes,
      isOver: (key) => this.#hasEnded(key),
      isDoubtful: () => this.#pods.doubt !== undefined,
      changed: (key) => this.#watches.get(key)?.changed(),
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
    try {
      await executor.#outputs.clear();
    } catch (error) {
      await executor.close();
      throw error;
    }
    await executor.#pods.whenSynced(apiDeadlineMs);
    return executor;
  }

  async launch(
    order: RunOrder,
    wishes?: PodWishes,
    labels?: Readonly<Record<string, string>>,
  ): Promise<void> {
    const pod = await this.#launch.launch(order, wishes, labels);
    this.#pods.note(order.key, pod);
  }

  async look(key: ScriptKey, claim: StartedClaim | undefined): Promise<Sighting> {
    const pod = this.#pods.pod(key);
    if (pod) return this.#sighting(key, pod, claim);
    if (claim?.by !== 'runner') return { presence: 'none' };
    if (this.#pods.doubt || this.#isReading(key, undefined)) return DOUBTFUL;
    const found = await this.#found(key);
    if (found === 'not told') return DOUBTFUL;
    if (found) return this.#sighting(key, found, claim);
    this.#watches.drop(key);
    return { presence: 'gone', exitCode: null, signal: null, trouble: this.#pods.whyGone(key) };
  }

  async stop(key: ScriptKey, claim: StartedClaim | undefined): Promise<boolean> {
    return claim?.by === 'runner' ? this.#removal.expire(key) : this.#removal.delete(key);
  }

  async clear(key: ScriptKey): Promise<void> {
    await this.#removal.clear(key);
  }

  async abandon(key: ScriptKey): Promise<void> {
    await this.#removal.abandon(key);
  }

  async witness(key: ScriptKey): Promise<Witness | undefined> {
    const pod = this.#pods.pod(key);
    const output = pod && hasBegun(pod) ? await this.#open(key, pod) : this.#outputs.of(key);
    // Asked for after its script was over: what nobody has followed is fetched first.
    if (output && !output.isComplete && !this.#watches.has(key) && this.#hasEnded(key)) {
      output.wake();
      await withDeadline({ deadlineMs: this.#options.apiDeadlineMs }, () => output.whenComplete()).catch(
        late,
      );
    }
    return output?.openWitness();
  }

  watch(key: ScriptKey, _claim: StartedClaim | undefined, watch: ScriptWatch): void {
    this.#watches.set(key, watch);
    if (watch.signal.aborted) return;
    for (const event of this.#pods.events(key)) tell(watch, event);
    this.#changed(key, undefined);
  }

  async remove(key: ScriptKey): Promise<void> {
    this.#watches.drop(key);
    await this.#removal.remove(key);
    // Not before: whoever still reads would open it again.
    await this.#outputs.remove(key);
    this.#pods.forget(key);
  }

  async keys(): Promise<readonly ScriptKey[]> {
    return [...new Set([...this.#pods.keys, ...this.#outputs.keys])];
  }

  async prepare(): Promise<void> {
    // A pod for a script that is not there yet would hold its place on a node for nothing.
  }

  /** The pod that this agent runs in. */
  agentPod(name: string): AgentPod {
    return new AgentPod(this.#connection, name);
  }

  /** How many pods there are, by what their status says. */
  get counts(): ReadonlyMap<PodView['state'], number> {
    const counts = new Map<PodView['state'], number>();
    for (const key of this.#pods.keys) {
      const pod = this.#pods.pod(key);
      if (pod === undefined) continue;
      const { state } = this.#pods.view(key, pod);
      counts.set(state, (counts.get(state) ?? 0) + 1);
    }
    return counts;
  }

  async close(): Promise<void> {
    this.#watches.clear();
    await this.#pods.close();
    try {
      await this.#outputs.close();
    } finally {
      await this.#connection.close();
    }
  }

  #sighting(key: ScriptKey, pod: Pod, claim: StartedClaim | undefined): Sighting {
    const view = this.#pods.view(key, pod);
    if (view.state !== 'ended') {
      const output = this.#outputs.of(key);
      // Where a kubelet is away, the API server is well and goes on saying what it was told last.
      const isDoubtful = this.#pods.doubt || output?.hasEnded === true || output?.isAway === true;
      const trouble = this.#troubleOf(view, claim);
      return { presence: 'alive', ...(trouble && { trouble }), ...(isDoubtful && { maybeOver: true }) };
    }
    if (this.#isReading(key, pod)) return DOUBTFUL;
    this.#watches.drop(key);
    const { exitCode, signal, failure } = view;
    return { presence: 'gone', exitCode, signal, ...(failure && { trouble: failure }) };
  }

  #troubleOf(
    { state, trouble }: Exclude<PodView, { state: 'ended' }>,
    claim: StartedClaim | undefined,
  ): Trouble | undefined {
    const { doubt } = this.#pods;
    if (claim?.by !== 'runner') return doubt ? launchTroubleIn(doubt, trouble, Date.now()) : trouble;
    // A status without the runner that has claimed is an old one.
    if (state === 'pending') return undefined;
    // A lost node becomes final by the passing of time alone, in which a status that nobody renews proves nothing.
    return trouble && doubt ? { ...trouble, final: false } : trouble;
  }

  /** Asks the API server for the pod, since another agent may have made it a moment ago. */
  async #found(key: ScriptKey): Promise<Pod | 'not told' | undefined> {
    try {
      const found = await this.#calls.find(key);
      if (found) this.#pods.note(key, found);
      return found;
    } catch (error) {
      if (error instanceof Fault && error.code === 'CLUSTER_UNREACHABLE') return 'not told';
      throw error;
    }
  }

  /** Its last lines are on their way to whoever watches it: the log is read until they came, or a deadline has passed. */
  #isReading(key: ScriptKey, pod: Pod | undefined): boolean {
    if (!this.#watches.has(key)) return false;
    if (pod && hasBegun(pod)) void this.#open(key, pod);
    return this.#outputs.isReading(key);
  }

  #changed(key: ScriptKey, event: PodEvent | undefined): void {
    const watch = this.#watches.get(key);
    const pod = this.#pods.pod(key);
    if (watch && event) tell(watch, event);
    if (watch && pod && hasBegun(pod)) void this.#open(key, pod);
    // Also of a script that is over: its log is read to its end.
    this.#outputs.of(key)?.wake();
    watch?.changed();
  }

  async #open(key: ScriptKey, pod: Pod): Promise<PodOutput | undefined> {
    return this.#outputs.open(key, pod.metadata?.uid ?? '');
  }

  /** The container has ended, or its pod is gone. */
  #hasEnded(key: ScriptKey): boolean {
    const pod = this.#pods.pod(key);
    return pod === undefined ? this.#pods.isGone(key) : this.#pods.view(key, pod).state === 'ended';
  }
}

function tell(watch: ScriptWatch, event: PodEvent): void {
  const line = podEventLine(event);
  if (line) watch.says?.(line);
}

/** What has come until now has to do; the volume has the rest. */
const late = (): undefined => undefined;

/** The container of the script was started at least once: before that there is no log. */
function hasBegun({ status }: Pod): boolean {
  const script = status?.containerStatuses?.find(({ name }) => name === SCRIPT_CONTAINER);
  return (script?.state?.running ?? script?.state?.terminated) !== undefined;
}
