import type { Executor, PodLine, Sighting } from '../../../src/executors/executor.ts';
import type {
  KubernetesExecutor,
  KubernetesExecutorOptions,
} from '../../../src/executors/kubernetes/kubernetes-executor.ts';
import { eventually } from '../../harness/eventually.ts';
import { claim, key, MadeCluster } from './made-cluster.ts';

type Test = { teardown: (work: () => unknown) => void };

/** Returns an agent and the cluster with one pod, whose container runs; the agent watches it already. */
export async function runningPod(
  t: Test,
  changes: Partial<KubernetesExecutorOptions> = {},
): Promise<{ cluster: MadeCluster; executor: KubernetesExecutor }> {
  const cluster = await MadeCluster.start(t);
  cluster.makePod();
  cluster.runs();
  const executor = await cluster.agent(changes);
  await eventually(() => cluster.pods.watchers.size > 0 && cluster.events.watchers.size > 0);
  return { cluster, executor };
}

/** What a watch was told. */
export interface Watched {
  readonly lines: PodLine[];
  readonly over: AbortController;
  told: number;
}

/** Watches the pod. */
export function watched(executor: Executor): Watched {
  const over = new AbortController();
  const all: Watched = { lines: [], over, told: 0 };
  const changed = (): void => void (all.told += 1);
  executor.watch(key, claim, { changed, says: (line) => all.lines.push(line), signal: over.signal });
  return all;
}

/** All that the witness has. */
export async function text(executor: Executor): Promise<string | undefined> {
  const witness = await executor.witness(key, claim);
  return witness && String(await witness.readAt(0, await witness.size()));
}

/** Waits until the runner is seen so. */
export async function becomes(executor: Executor, presence: Sighting['presence']): Promise<Sighting> {
  await eventually(async () => (await executor.look(key, claim)).presence === presence);
  return executor.look(key, claim);
}
