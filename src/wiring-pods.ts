import { createHash } from 'node:crypto';
import type { Config } from './config.ts';
import { KubernetesExecutor } from './executors/kubernetes/kubernetes-executor.ts';
import { Fault } from './protocol/fault.ts';
import { agentKeyName, type AgentKey } from './protocol/seal.ts';
import { ClusterReporter } from './telemetry/cluster-reporter.ts';
import type { Logger } from './telemetry/logger.ts';
import type { Metrics } from './telemetry/metrics.ts';

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
): Promise<{ executor: KubernetesExecutor; pods: () => ReadonlyMap<string, number> }> {
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
  return { executor, pods: () => executor.counts };
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

/** The agent's own user unless the configuration names one: files on a network volume belong to whoever wrote them. */
function podUser({ podUid, podGid }: Config): { uid: number; gid: number } {
  const uid = podUid ?? process.getuid?.() ?? 0;
  const gid = podGid ?? process.getgid?.() ?? 0;
  if (uid > 0) return { uid, gid };
  const rule =
    'script pods never run as user 0: run the agent as another user, or set podUid to one that may write to the volume';
  throw new Fault('CONFIG_INVALID', rule, { detail: { key: 'podUid' } });
}
