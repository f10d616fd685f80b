import type { V1Container, V1PodSpec } from '@kubernetes/client-node';
import type { Plain } from './api-object.ts';
import { imageFor, runnerSourceFor } from './pod-image.ts';
import { ORDER_FILE, POD_PATHS, RUNNER_CONTAINER, SCRIPT_CONTAINER } from './pod-names.ts';
import { resourcesFor } from './pod-resources.ts';
import type { PodOrder, PodSetup } from './pod-setup.ts';
import { injectionMount, scriptMountsFor } from './pod-volumes.ts';

/** Enough for the reads of a verification and what may hang beside them. */
const RUNNER_THREADS = '8';

/** What pod security `restricted` wants of a container, and a root file system that nobody writes to. */
export const RESTRICTED: NonNullable<Plain<V1Container>['securityContext']> = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
};

/** The container in which the script runs. Its first process is tini, which reaps and hands TERM on to the runner. */
export function scriptContainerFor(podOrder: PodOrder, setup: PodSetup): Plain<V1Container> {
  const source = runnerSourceFor(podOrder, setup);
  const bin = source === 'image-volume' ? `${POD_PATHS.runnerImage}${POD_PATHS.bin}` : POD_PATHS.bin;
  const order = `${POD_PATHS.order}/${ORDER_FILE}`;
  return {
    ...containerFor(SCRIPT_CONTAINER, imageFor(podOrder, setup), { podOrder, setup }),
    command: [`${bin}/tini`, '--', `${bin}/node`, `${bin}/runner.cjs`, '--order', order],
    env: [
      // The root file system is read-only, and many programs want to write there.
      { name: 'HOME', value: POD_PATHS.temporary },
      // An image may have options for a Node of its own; they are not for the runner.
      { name: 'NODE_OPTIONS', value: '' },
      { name: 'UV_THREADPOOL_SIZE', value: RUNNER_THREADS },
    ],
    volumeMounts: scriptMountsFor(podOrder, setup),
  };
}

/** The container that copies the runner into the pod, where one does. */
export function initContainersFor(
  podOrder: PodOrder,
  setup: PodSetup,
): Pick<Plain<V1PodSpec>, 'initContainers'> {
  if (runnerSourceFor(podOrder, setup) !== 'init') return {};
  const { bin, injected } = POD_PATHS;
  return {
    initContainers: [
      {
        ...containerFor(RUNNER_CONTAINER, setup.runnerImage, { podOrder, setup }),
        command: [`${bin}/node`, `${bin}/runner.cjs`, '--install', injected],
        volumeMounts: [injectionMount(injected)],
      },
    ],
  };
}

/** What both have. The same resources too: they are not added up, and a quota may want them of every container. */
function containerFor(
  name: string,
  image: string,
  { podOrder, setup }: { podOrder: PodOrder; setup: PodSetup },
): Plain<V1Container> {
  const resources = resourcesFor(podOrder.wishes?.resources, setup.podDefaults.resources);
  return {
    name,
    image,
    imagePullPolicy: setup.imagePullPolicy,
    ...(Object.keys(resources).length > 0 && { resources }),
    securityContext: RESTRICTED,
    // The last words of a runner that failed are seen in the status, also when nobody read the log.
    terminationMessagePolicy: 'FallbackToLogsOnError',
  };
}
