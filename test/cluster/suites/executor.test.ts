/** The Kubernetes executor, held to the same page as every other one, on a real cluster. */
import { chownSync } from 'node:fs';
import type { Test } from 'tap';
import { KubernetesExecutor } from '../../../src/executors/kubernetes/kubernetes-executor.ts';
import type { RunOrder } from '../../../src/protocol/run-order.ts';
import { countedScript, publishedFrom } from '../../contracts/counted-script.ts';
import { executorSuite, type ExecutorGround } from '../../contracts/executor.suite.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { stageScriptIn } from '../../runner/staged-script.ts';
import { projectImages } from '../project-images.ts';
import { CLAIM, groundFor, own, USER } from './ground.ts';

async function clusterGround(t: Test): Promise<ExecutorGround> {
  const ground = await groundFor(t);
  const volume = ground.subfolder('volume');
  const publish = (script: string, changes?: Partial<RunOrder>): ReturnType<typeof publishedFrom> => {
    const staged = stageScriptIn(volume, countedScript(script), changes);
    own(volume);
    return publishedFrom(staged);
  };
  return {
    publish,
    agent: async () => {
      const executor = await KubernetesExecutor.open({
        setup: {
          podGroup: 'contract',
          ...{ claim: CLAIM, claimFolder: 'volume', claimAccess: 'rwx', uid: USER, gid: USER },
          ...{ scriptImage: projectImages.script, runnerImage: projectImages.runner },
          ...{ runnerInjection: 'init', imagePullPolicy: 'Never', podDefaults: {} },
          podLaunchTimeoutMs: 60_000,
        },
        kubeconfig: ground.cluster.kubeconfig,
        namespace: ground.namespace,
        apiDeadlineMs: 10_000,
        logSpoolBytes: 2 ** 24,
        stateFolder: temporaryFolder(t, 'longshore-state'),
        observe: () => undefined,
      });
      t.teardown(() => executor.close());
      return executor;
    },
    publishBroken: () => {
      const published = publish('true');
      // Its user may not make the claim there.
      chownSync(published.staged.places.out, 0, 0);
      return published;
    },
  };
}

executorSuite('KubernetesExecutor', clusterGround);
