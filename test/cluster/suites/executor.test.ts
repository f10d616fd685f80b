/** The Kubernetes executor, held to the same page as every other one, on a real cluster. */
import { chownSync, existsSync, readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { KubernetesExecutor } from '../../../src/executors/kubernetes/kubernetes-executor.ts';
import { parseStartedClaim, type RunOrder } from '../../../src/protocol/run-order.ts';
import { executorSuite, type ExecutorGround, type Published } from '../../contracts/executor.suite.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { stageScriptIn, type StagedScript } from '../../runner/staged-script.ts';
import { projectImages } from '../project-images.ts';
import { CLAIM, groundFor, own, USER } from './ground.ts';

async function clusterGround(t: Test): Promise<ExecutorGround> {
  const ground = await groundFor(t);
  const volume = ground.subfolder('volume');
  const publish = (
    script: string,
    changes?: Partial<RunOrder>,
  ): Published & { readonly staged: StagedScript } => {
    const staged = stageScriptIn(volume, `echo run >> ../out/artifacts/runs\n${script}`, changes);
    own(volume);
    const { order, key, places } = staged;
    const read = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');
    return {
      ...{ staged, order, key },
      claim: () => parseStartedClaim(read(places.started)),
      runs: () => read(`${places.artifacts}/runs`).split('\n').length - 1,
    };
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
