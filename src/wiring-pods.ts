import { createHash } from 'node:crypto';
import type { Config } from './config.ts';
import type { Executor } from './executors/executor.ts';
import type { AgentPod } from './executors/kubernetes/agent-pod.ts';
import { KubernetesExecutor } from './executors/kubernetes/kubernetes-executor.ts';
import { podUser } from './executors/kubernetes/pod-user.ts';
import { agentKeyName, type AgentKey } from './protocol/seal.ts';
import { ClusterReporter } from './telemetry/cluster-reporter.ts';
import type { Logger } from './telemetry/logger.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** Where scripts run. */
export interface Execution {
  readonly executor: Executor;
  readonly pods: () => ReadonlyMap<string, number>;
  /** Where the agent knows in which pod it runs. */
  readonly agentPod?: AgentPod;
}

/** What of an agent the way to its cluster needs. */
export interface PodsParts {
  readonly config: Config;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

/**
 * Opens the way to the cluster.
 *
 * @throws {Fault} CONFIG_INVALID, CLUSTER_FORBIDDEN that names the rights that are missing.
 */
export async function openPods(
  { config, metrics, logger }: PodsParts,
  agentKey: AgentKey,
): Promise<Execution> {
  const { claim, claimAccess, nodeName, scriptImage, runnerImage, runnerInjection, imagePullPolicy } = config;
  const { podDefaults, podLaunchTimeoutMs, kubeconfig, namespace, podOwner } = config;
  if (claim === undefined) throw new TypeError('the configuration was checked, and has a claim');
  const reporter = new ClusterReporter(metrics, logger);
  const executor = await KubernetesExecutor.open({
    setup: {
      ...{ claim, claimAccess, scriptImage, runnerImage, runnerInjection, imagePullPolicy, podDefaults },
      ...{ podLaunchTimeoutMs, ...podUser(config) },
      ...(nodeName !== undefined && { nodeName }),
      ...(config.claimFolder !== undefined && { claimFolder: config.claimFolder }),
      podGroup: config.podGroup ?? groupFor(agentKeyName(agentKey), claim, config.claimFolder),
    },
    ...{ kubeconfig, namespace, podOwner },
    apiDeadlineMs: config.apiDeadlineMs,
    logSpoolBytes: config.logSpoolBytes,
    stateFolder: config.state,
    observe: (event) => reporter.tell(event),
  });
  const { podName } = config;
  return {
    executor,
    pods: () => executor.counts,
    ...(podName !== undefined && { agentPod: executor.agentPod(podName) }),
  };
}

/**
 * Agents with one key on one claim are replicas; any other agent has other pods.
 *
 * Not by the epoch: an agent that starts behind the loss of a volume must find the pods and the outcomes of before.
 */
function groupFor(keyName: string, claim: string, folder = ''): string {
  return createHash('sha256')
    .update(JSON.stringify([keyName, claim, folder]))
    .digest('hex')
    .slice(0, 16);
}
