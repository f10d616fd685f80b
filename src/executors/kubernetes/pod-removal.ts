import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '../../protocol/fault.ts';
import type { ScriptKey } from '../../protocol/ticket.ts';
import type { PodCalls } from './pod-calls.ts';
import type { PodView } from './pod-failure.ts';
import type { Pod, PodWatch } from './pod-watch.ts';

export interface PodRemovalOptions {
  readonly calls: PodCalls;
  readonly pods: PodWatch;
  /** How long a pod may take to end. @default 30 s */
  readonly clearDeadlineMs?: number | undefined;
  /** How long a pod that was deleted is waited for. @default 10 s */
  readonly removalDeadlineMs?: number | undefined;
}

const POLL_MS = 100;
/** The kubelet ends what is left in so many seconds; 0 would only take the object away and leave the processes. */
const SHORT_GRACE_S = 1;

/** Ends pods and takes them away: those of this group of agents, and of no other that has their names. */
export class PodRemoval {
  readonly #options: PodRemovalOptions;

  constructor(options: PodRemovalOptions) {
    this.#options = options;
  }

  /** Lets a pod end its script and keeps it; false where there is none that runs. @throws {Fault} CLUSTER_UNREACHABLE */
  async expire(key: ScriptKey): Promise<boolean> {
    const { calls, pods } = this.#options;
    const pod = await this.#find(key);
    if (pod === undefined || pods.view(key, pod).state === 'ended') return false;
    // A deletion would take the log away before it was read.
    return calls.expire(key);
  }

  /** Deletes a pod; false where there is none. @throws {Fault} CLUSTER_UNREACHABLE */
  async delete(key: ScriptKey, graceSeconds: number = SHORT_GRACE_S): Promise<boolean> {
    const pod = await this.#find(key);
    return pod !== undefined && this.#options.calls.delete(key, pod, graceSeconds);
  }

  /**
   * Takes the object of a pod away whose processes cannot be ended, which no kubelet does while they are there; nothing
   * happens where there is none. They stay on their node. @throws {Fault} CLUSTER_UNREACHABLE
   */
  async abandon(key: ScriptKey): Promise<void> {
    await this.delete(key, 0);
  }

  /** Deletes a pod and waits until it is gone, or for as long as that usually takes. @throws {Fault} CLUSTER_UNREACHABLE */
  async remove(key: ScriptKey): Promise<void> {
    const { pods, removalDeadlineMs = 10_000 } = this.#options;
    const until = performance.now() + removalDeadlineMs;
    await this.delete(key);
    while (pods.pod(key) && performance.now() < until) await delay(POLL_MS);
  }

  /**
   * Deletes a pod and returns when it has ended or is gone.
   *
   * @throws {Fault} RUNNER_FAILED when it does not end; CLUSTER_UNREACHABLE when nobody says whether it did.
   */
  async clear(key: ScriptKey): Promise<void> {
    const { pods, clearDeadlineMs = 30_000 } = this.#options;
    const until = performance.now() + clearDeadlineMs;
    for (let isAsked = false; ;) {
      const pod = pods.pod(key);
      const view = pod && pods.view(key, pod);
      if (view?.state === 'ended') return;
      if (isLost(view) && pods.doubt === undefined) {
        // Nobody is there who could end it; at most once rests on the claim, not on this pod.
        await this.delete(key, 0);
        return;
      }
      // What the watch does not know may be there all the same: only the API server is sure.
      if (!isAsked || pod === undefined) isAsked = await this.delete(key);
      if (!isAsked) return;
      if (performance.now() > until) throw this.#tooLate(key);
      await delay(POLL_MS);
    }
  }

  #tooLate(key: ScriptKey): Fault {
    return this.#options.pods.doubt
      ? new Fault('CLUSTER_UNREACHABLE', `the API server does not say whether the pod of ${key} has ended`)
      : new Fault('RUNNER_FAILED', `the pod of ${key} does not end: its processes stand in a system call`);
  }

  async #find(key: ScriptKey): Promise<Pod | undefined> {
    return this.#options.pods.pod(key) ?? (await this.#options.calls.find(key));
  }
}

function isLost(view: PodView | undefined): boolean {
  if (view === undefined || view.state === 'ended') return false;
  return view.trouble?.code === 'CLUSTER_NODE_LOST' && view.trouble.final;
}
