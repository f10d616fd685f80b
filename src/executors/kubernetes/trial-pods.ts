import type { CoreV1Event, V1Pod } from '@kubernetes/client-node';
import { pathFor, type ApiCaller } from './api-call.ts';
import { ApiRefusal } from './api-error.ts';
import type { Plain } from './api-object.ts';
import {
  trialPodFor,
  trialPodNameFor,
  trialSelectorFor,
  type TrialPodOrder,
  type TrialSetup,
  type TrialSide,
} from './trial-pod-template.ts';

type Pod = Plain<V1Pod>;

/** A pod of a trial, as the cluster tells it. */
export interface TrialPod {
  readonly side: TrialSide;
  /** Empty where no node has it. */
  readonly node: string;
  readonly state: 'waiting' | 'running' | 'ended';
  /** What the cluster says of why it does not run, as it came; empty where it says nothing. */
  readonly words: string;
  /** The scheduler finds no node for it. */
  readonly isHomeless: boolean;
}

const SIDES = ['left', 'right', 'inside'] as const satisfies readonly TrialSide[];
const MAX_LOG_BYTES = 256 * 1024;
/** Each call is short, so that a doctor ends in time also where the API server does not answer. */
const CALL_DEADLINE_MS = 3000;
/** Webhooks of a cluster may look at a new pod for longer. */
const CREATE_DEADLINE_MS = 8000;
const MAX_SWEPT = 20;
const GRACE_S = 5;

/** The pods of one trial of a volume: made, looked at, read, removed. */
export class TrialPods {
  readonly #connection: ApiCaller;
  readonly #setup: TrialSetup;
  readonly #run: string;
  readonly #started = new Set<TrialSide>();

  /** `run` is 8 random hex digits. */
  constructor(connection: ApiCaller, setup: TrialSetup, run: string) {
    this.#connection = connection;
    this.#setup = setup;
    this.#run = run;
  }

  /** Removes pods of doctors that were killed, which ended by their own deadline. */
  async sweep(): Promise<void> {
    const ended = (await this.#list(trialSelectorFor())).filter((pod) => stateOf(pod) === 'ended');
    const names = ended.flatMap(({ metadata }) => metadata?.name ?? []);
    await Promise.all(names.slice(0, MAX_SWEPT).map((name) => this.#delete(name)));
  }

  /** @throws {ApiRefusal} the cluster's no. @throws {Fault} CLUSTER_UNREACHABLE, CLUSTER_FORBIDDEN. */
  async start(order: Omit<TrialPodOrder, 'run'>): Promise<void> {
    const { namespace } = this.#connection;
    // Also where no answer comes, it may be there.
    this.#started.add(order.side);
    const body = trialPodFor({ ...order, run: this.#run }, namespace, this.#setup);
    try {
      await this.#connection.request(
        { verb: 'create', resource: 'pods', path: pathFor(namespace, 'pods'), body },
        { deadlineMs: CREATE_DEADLINE_MS },
      );
    } catch (error) {
      // The first attempt was not answered, and did it.
      if (!(error instanceof ApiRefusal) || error.reason !== 'AlreadyExists') throw error;
    }
  }

  /** @throws {Fault} CLUSTER_UNREACHABLE, CLUSTER_FORBIDDEN. */
  async look(): Promise<ReadonlyMap<TrialSide, TrialPod>> {
    const pods = await this.#list(trialSelectorFor(this.#run));
    const byName = new Map(pods.map((pod) => [pod.metadata?.name, pod]));
    return new Map(
      SIDES.flatMap((side) => {
        const pod = byName.get(trialPodNameFor(this.#run, side));
        return pod === undefined ? [] : [[side, factsOf(side, pod)] as const];
      }),
    );
  }

  /** The lines that a pod has written so far; none where its container has not begun. */
  async log(side: TrialSide): Promise<string[]> {
    const name = trialPodNameFor(this.#run, side);
    const path = pathFor(this.#connection.namespace, 'pods/log', name);
    const signal = AbortSignal.timeout(CALL_DEADLINE_MS);
    try {
      const { body } = await this.#connection.stream(
        { verb: 'get', resource: 'pods/log', path },
        { signal, connectDeadlineMs: CALL_DEADLINE_MS },
      );
      const lines = (await textOf(body)).split('\n');
      // What is behind the last line end is still being written.
      return lines.slice(0, -1);
    } catch (error) {
      if (error instanceof ApiRefusal || signal.aborted) return [];
      throw error;
    }
  }

  /** What nodes and scheduler last said of a pod, as it came; empty where they said nothing of interest. */
  async lastWarning(side: TrialSide): Promise<string> {
    const { namespace } = this.#connection;
    const path = pathFor(namespace, 'events');
    const fieldSelector = `involvedObject.name=${trialPodNameFor(this.#run, side)}`;
    const query = { fieldSelector };
    const { items = [] } = await this.#connection.request<{ items?: Plain<CoreV1Event>[] }>(
      { verb: 'list', resource: 'events', path, query },
      { deadlineMs: CALL_DEADLINE_MS },
    );
    const last = items.findLast(({ type }) => type === 'Warning');
    return last === undefined ? '' : `${last.reason ?? ''}: ${last.message ?? ''}`;
  }

  /** Removes every pod that was started. Tries each, and rejects with the first error. */
  async remove(): Promise<void> {
    const names = [...this.#started].map((side) => trialPodNameFor(this.#run, side));
    const ends = await Promise.allSettled(names.map((name) => this.#delete(name)));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    this.#started.clear();
  }

  async #delete(name: string): Promise<void> {
    const path = pathFor(this.#connection.namespace, 'pods', name);
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: GRACE_S };
    try {
      await this.#connection.request(
        { verb: 'delete', resource: 'pods', path, body },
        { deadlineMs: CALL_DEADLINE_MS },
      );
    } catch (error) {
      if (!(error instanceof ApiRefusal) || error.status !== 404) throw error;
    }
  }

  async #list(labelSelector: string): Promise<readonly Pod[]> {
    const path = pathFor(this.#connection.namespace, 'pods');
    const query = { labelSelector };
    const list = await this.#connection.request<{ items?: Pod[] }>(
      { verb: 'list', resource: 'pods', path, query },
      { deadlineMs: CALL_DEADLINE_MS },
    );
    return list.items ?? [];
  }
}

function stateOf({ status }: Pod): TrialPod['state'] {
  if (['Succeeded', 'Failed'].includes(status?.phase ?? '')) return 'ended';
  return status?.phase === 'Running' ? 'running' : 'waiting';
}

function factsOf(side: TrialSide, pod: Pod): TrialPod {
  const { status, spec } = pod;
  const placing = status?.conditions?.find(({ type }) => type === 'PodScheduled');
  const container = status?.containerStatuses?.[0]?.state;
  const said = container?.waiting ?? container?.terminated;
  const words = [said?.reason, said?.message, placing?.status === 'False' ? placing.message : undefined];
  return {
    side,
    node: spec?.nodeName ?? '',
    state: stateOf(pod),
    words: words.filter(Boolean).join(': '),
    isHomeless: placing?.status === 'False' && placing.reason === 'Unschedulable',
  };
}

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    // A program of ours says far less: what more there is, is not read.
    if (bytes > MAX_LOG_BYTES) break;
  }
  return Buffer.concat(chunks).toString('utf8');
}
