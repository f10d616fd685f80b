import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../../harness/eventually.ts';
import { theCluster, type Cluster } from '../cluster.ts';
import { projectImages } from '../project-images.ts';

/** A user that no image knows by name; the agent and its pods have it. */
export const USER = 10001;
export const CLAIM = 'volume';
const CONTROLLERS_MS = 180_000;

/** A namespace of a test: it enforces pod security, and has a claim that pods on both nodes may write. */
export interface Ground {
  readonly cluster: Cluster;
  readonly namespace: string;
  /** The claim as a folder of this machine. */
  readonly folder: string;
  readonly kubectl: (...args: readonly string[]) => Promise<string>;
  /** Makes a folder of the claim, for a volume of its own. */
  readonly subfolder: (name: string) => string;
}

/** Makes a ground and removes it with the test. */
export async function groundFor(
  t: { teardown: (work: () => Promise<void>) => void },
  claim = CLAIM,
): Promise<Ground> {
  const cluster = theCluster();
  const namespace = `ls-${randomBytes(4).toString('hex')}`;
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels } });
  const kubectl = async (...args: readonly string[]): Promise<string> =>
    cluster.kubectl([...args, '--namespace', namespace]);
  t.teardown(async () => {
    const gone = ['--wait=false', '--ignore-not-found'];
    await cluster.kubectl(['delete', 'namespace', namespace, ...gone]);
    await cluster.kubectl(['delete', 'persistentvolume', `${namespace}-${claim}`, ...gone]);
  });
  // Controllers may pause for a minute after an outage of the API server, which another suite made.
  const hasAccount = async (): Promise<boolean> =>
    (await kubectl('get', 'serviceaccounts')).includes('default');
  await eventually(hasAccount, CONTROLLERS_MS);
  const folder = await cluster.sharedClaim(namespace, claim);
  return {
    ...{ cluster, namespace, folder, kubectl },
    subfolder: (name) => {
      const path = join(folder, name);
      mkdirSync(path, { recursive: true });
      own(path);
      return path;
    },
  };
}

/** Gives files to the user of the pods, as if an agent of that user had made them. */
export function own(path: string): void {
  execFileSync('chown', ['-R', `${USER}:${USER}`, path]);
}

/** The images of the project and whose they are, as flags of `longshore serve`. */
export function podFlags(ground: Ground, folder: string): string[] {
  const flags = {
    executor: 'kubernetes',
    kubeconfig: ground.cluster.kubeconfig,
    namespace: ground.namespace,
    claim: CLAIM,
    'claim-folder': folder,
    'script-image': projectImages.script,
    'runner-image': projectImages.runner,
    'image-pull-policy': 'Never',
  };
  return Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
}
