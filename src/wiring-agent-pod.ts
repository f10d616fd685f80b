import type { AgentPod, PodNews } from './executors/kubernetes/agent-pod.ts';
import type { MountTrust } from './mount/mount-trust.ts';
import type { Belief, MountRule } from './protocol/mount-belief.ts';
import { errorFields, type Logger } from './telemetry/logger.ts';

export interface AgentPodWiring {
  readonly pod: Pick<AgentPod, 'tell' | 'replace'>;
  readonly mount: MountTrust;
  /** No script depends on the mount any more: those that were lost with it are settled. */
  readonly isSettled: () => boolean;
  readonly logger: Logger;
  /** How often what failed is tried again. */
  readonly retryMs: number;
}

/** A mount on which these were proven is bound to a server that is gone, and a new mount finds the new one. */
const NEVER_RETURNS: ReadonlySet<MountRule> = new Set<MountRule>(['elsewhere', 'stale']);

const NEWS = {
  trusted: { type: 'Normal', reason: 'StorageTrusted' },
  stalled: { type: 'Warning', reason: 'StorageStalled' },
  lost: { type: 'Warning', reason: 'StorageLost' },
} as const satisfies Record<Belief['verdict'], Pick<PodNews, 'type' | 'reason'>>;

/** Tells on the agent's own pod what becomes of the mount, and has the pod replaced where its mount cannot return. */
export class AgentPodDuty {
  readonly #wiring: AgentPodWiring;
  readonly #forget: () => void;
  #told: Belief['verdict'];
  #timer: NodeJS.Timeout | undefined;

  constructor(wiring: AgentPodWiring) {
    this.#wiring = wiring;
    this.#told = wiring.mount.belief().verdict;
    this.#forget = wiring.mount.subscribe((belief) => this.#turned(belief));
  }

  close(): void {
    this.#forget();
    clearTimeout(this.#timer);
  }

  #turned({ verdict, says }: Belief): void {
    if (verdict !== this.#told) {
      this.#told = verdict;
      void this.#tried('Event', () => this.#wiring.pod.tell({ ...NEWS[verdict], message: says }, new Date()));
    }
    this.#consider();
  }

  #consider(): void {
    clearTimeout(this.#timer);
    const { mount, isSettled, pod, retryMs } = this.#wiring;
    if (!NEVER_RETURNS.has(mount.belief().rule)) return;
    this.#timer = setTimeout(() => {
      if (isSettled()) void this.#tried('replacement', () => pod.replace());
      this.#consider();
    }, retryMs).unref();
  }

  async #tried(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#wiring.logger.info({ what }, 'the pod of the agent was told');
    } catch (error) {
      this.#wiring.logger.warn({ what, ...errorFields(error) }, 'the pod of the agent could not be told');
    }
  }
}
