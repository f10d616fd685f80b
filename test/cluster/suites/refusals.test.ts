/** A real API server refuses pods in the words that refusalFor() expects. */
import { test, type Test } from 'tap';
import { pathFor } from '../../../src/executors/kubernetes/api-call.ts';
import { ApiRefusal } from '../../../src/executors/kubernetes/api-error.ts';
import { KubeConnection } from '../../../src/executors/kubernetes/connection.ts';
import { refusalFor } from '../../../src/executors/kubernetes/creation-refusal.ts';
import { membersOf } from '../../../src/executors/kubernetes/loose-json.ts';
import { eventually } from '../../harness/eventually.ts';
import { theCluster } from '../cluster.ts';
import { StatusGround } from './status-ground.ts';

type Json = Readonly<Record<string, unknown>>;

const cluster = theCluster();

/** A namespace of its own, and what its pods are refused for. */
const REFUSALS: Readonly<
  Record<string, readonly [code: string, says: RegExp, objects: readonly Json[], spec?: Json]>
> = {
  'no service account of that name': [
    'CLUSTER_ACCOUNT_MISSING',
    /names a service account that the namespace does not have: .*"nosuch" not found/,
    [],
    { serviceAccountName: 'nosuch' },
  ],
  'a quota that is used up': [
    'CLUSTER_QUOTA',
    /leaves no room for the pod: .*exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0/,
    [{ apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'none' }, spec: { hard: { pods: '0' } } }],
  ],
  'a quota on what the pod does not say': [
    'CLUSTER_POD_REFUSED',
    /wants more to be said of the pod: .*must specify limits\.memory/,
    [
      {
        apiVersion: 'v1',
        kind: 'ResourceQuota',
        metadata: { name: 'm' },
        spec: { hard: { 'limits.memory': '1Gi' } },
      },
    ],
  ],
  'a limit range': [
    'CLUSTER_POD_REFUSED',
    /^a limit range of the namespace forbids the pod: .*maximum cpu usage per Container is 1/,
    [
      {
        apiVersion: 'v1',
        kind: 'LimitRange',
        metadata: { name: 'small' },
        spec: { limits: [{ type: 'Container', max: { cpu: '1' } }] },
      },
    ],
    { containers: [{ name: 'script', image: 'busybox:stable', resources: { limits: { cpu: '2' } } }] },
  ],
  'a field that is invalid': [
    'CLUSTER_POD_REFUSED',
    /^the API server finds the pod invalid: /,
    [],
    { nodeName: 'A B' },
  ],
};

/** Tries to make a pod as the agent does. */
async function refused(namespace: string, spec: Json): Promise<ReturnType<typeof refusalFor> | undefined> {
  const options = { namespace, requestDeadlineMs: 10_000, observe: () => undefined };
  const connection = await KubeConnection.open({ kubeconfig: cluster.kubeconfig, ...options });
  const containers = [{ name: 'script', image: 'busybox:stable' }];
  const body = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'refused' },
    spec: { containers, ...spec },
  };
  try {
    await connection.request({ verb: 'create', resource: 'pods', path: pathFor(namespace, 'pods'), body });
    return undefined;
  } catch (error) {
    if (!(error instanceof ApiRefusal)) throw error;
    return refusalFor(error);
  } finally {
    await connection.close();
  }
}

async function namespaceWith(t: Test, objects: readonly Json[]): Promise<StatusGround> {
  const own = new StatusGround(cluster);
  await own.make();
  t.teardown(() => own.remove());
  for (const one of objects) {
    const metadata = { ...membersOf(one['metadata']), namespace: own.namespace };
    await cluster.apply({ ...one, metadata });
  }
  return own;
}

for (const [title, [code, says, objects, spec = {}]] of Object.entries(REFUSALS)) {
  test(`${title}: refusalFor() says ${code}`, async (t) => {
    const { namespace } = await namespaceWith(t, objects);
    // A quota is counted, and a rule is known to the server, a moment after it was made.
    let said: string | undefined;
    await eventually(async () => {
      said = (await refused(namespace, spec))?.says;
      return said !== undefined && says.test(said);
    }).catch(() => undefined);
    t.match(said, says);
    t.equal((await refused(namespace, spec))?.code, code);
  });
}

test('pod security, a namespace that goes and one that is not there: refusalFor() says CLUSTER_POD_REFUSED', async (t) => {
  const own = await namespaceWith(t, []);
  await cluster.kubectl([
    'label',
    'namespace',
    own.namespace,
    'pod-security.kubernetes.io/enforce=restricted',
  ]);
  const forbidden = await refused(own.namespace, {});
  t.match(forbidden, {
    code: 'CLUSTER_POD_REFUSED',
    says: /^the pod security of the namespace forbids the pod: ./,
  });

  await cluster.kubectl(['label', 'namespace', own.namespace, 'pod-security.kubernetes.io/enforce-']);
  await own.keptPod('stays', { image: 'nosuch:1', imagePullPolicy: 'Never' });
  await cluster.kubectl(['delete', 'namespace', own.namespace, '--wait=false']);
  const going = await refused(own.namespace, {});
  t.match(going, { code: 'CLUSTER_POD_REFUSED', says: /^the namespace of the pod is being deleted: ./ });
  await own.release('stays');

  const nowhere = await refused(`nosuch-${own.namespace}`, {});
  t.match(nowhere, { code: 'CLUSTER_POD_REFUSED', says: /^the namespace of the pod does not exist: ./ });
});
