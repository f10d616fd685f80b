/** Real schedulers, kubelets and controllers say what viewOf() and goneView() expect of them. */
import { test } from 'tap';
import { podEventLine } from '../../../src/executors/kubernetes/pod-event.ts';
import { goneView, type PodView } from '../../../src/executors/kubernetes/pod-failure.ts';
import { podPhasesOf } from '../../../src/executors/kubernetes/pod-phase.ts';
import { eventually } from '../../harness/eventually.ts';
import { theCluster } from '../cluster.ts';
import { StatusGround, type PodWish } from './status-ground.ts';

type Json = Readonly<Record<string, unknown>>;
interface Case extends PodWish {
  readonly view: readonly [state: PodView['state'], code: string | undefined, says: RegExp];
  readonly final?: boolean;
  /** Where it is always the same. */
  readonly exitCode?: number | null;
}

const cluster = theCluster();
const ground = new StatusGround(cluster);
const sh = (command: string): Json => ({ command: ['sh', '-c', command] });
const stays = sh('trap "exit 9" TERM; while :; do sleep 0.2; done');
const limited = { resources: { limits: { memory: '32Mi' } } };
const hungry = { image: 'debian:bookworm-slim', ...limited };
const volume = (name: string, source: Json, mount: Json = {}) => ({
  script: { volumeMounts: [{ name, mountPath: '/v', ...mount }] },
  spec: { volumes: [{ name, ...source }] },
});

const CASES: Readonly<Record<string, Case>> = {
  'exit-0': { script: sh('true'), view: ['ended', undefined, /^$/], exitCode: 0 },
  'exit-3': { script: sh('exit 3'), view: ['ended', undefined, /^$/], exitCode: 3 },
  runs: { script: stays, view: ['running', undefined, /^$/] },
  oom: {
    script: { ...hungry, command: ['tail', '/dev/zero'] },
    view: [
      'ended',
      'CLUSTER_OOM',
      /killed the container of the script for want of memory; its limit is 32Mi$/,
    ],
    exitCode: 137,
  },
  'program-missing': {
    script: { command: ['/no/such/program'] },
    view: [
      'ended',
      'CLUSTER_CONTAINER_REFUSED',
      /could not start the container of the script \(exit code 128\): ./,
    ],
    exitCode: 128,
  },
  'image-missing': {
    script: { image: 'registry.invalid/no/such:1' },
    view: [
      'pending',
      'CLUSTER_IMAGE_MISSING',
      /cannot fetch the image registry\.invalid\/no\/such:1 and tries again: ./,
    ],
  },
  'image-never': {
    script: { image: 'nosuch:1', imagePullPolicy: 'Never' },
    view: ['pending', 'CLUSTER_IMAGE_MISSING', /does not have the image nosuch:1/],
    final: true,
  },
  'image-invalid': {
    script: { image: 'NOT A NAME' },
    view: ['pending', 'CLUSTER_IMAGE_INVALID', /^NOT A NAME is no name of an image: ./],
    final: true,
  },
  'no-room': {
    script: { resources: { requests: { cpu: '1000' } } },
    view: ['pending', 'CLUSTER_UNSCHEDULABLE', /^no node takes the pod: .*Insufficient cpu/],
  },
  gated: {
    script: {},
    spec: { schedulingGates: [{ name: 'test.longshore.dev/gate' }] },
    view: ['pending', 'CLUSTER_UNSCHEDULABLE', /because of its scheduling gates/],
  },
  'claim-missing': {
    ...volume('v', { persistentVolumeClaim: { claimName: 'nosuch' } }),
    view: ['pending', 'CLUSTER_CLAIM_UNBOUND', /persistentvolumeclaim "nosuch" not found/],
  },
  'claim-unbound': {
    ...volume('v', { persistentVolumeClaim: { claimName: 'unbound' } }),
    view: ['pending', 'CLUSTER_CLAIM_UNBOUND', /unbound immediate PersistentVolumeClaims/],
  },
  'secret-in-environment': {
    script: { envFrom: [{ secretRef: { name: 'nosuch' } }] },
    view: ['pending', 'CLUSTER_CONTAINER_REFUSED', /CreateContainerConfigError.*secret "nosuch" not found/],
  },
  'secret-mounted': {
    ...volume('v', { secret: { secretName: 'nosuch' } }),
    view: [
      'pending',
      'CLUSTER_MOUNT_FAILED',
      /cannot mount a volume of the pod: .*secret "nosuch" not found/,
    ],
  },
  'folder-missing': {
    ...volume('v', { hostPath: { path: '/no/such/folder', type: 'Directory' } }),
    view: ['pending', 'CLUSTER_MOUNT_FAILED', /cannot mount a volume of the pod: .*\/no\/such\/folder/],
  },
  'sub-path-sick': {
    script: { volumeMounts: [{ name: 'v', mountPath: '/v', subPath: 'file/below' }] },
    spec: {
      volumes: [{ name: 'v', emptyDir: {} }],
      initContainers: [
        {
          name: 'runner',
          image: 'busybox:stable',
          command: ['touch', '/v/file'],
          volumeMounts: [{ name: 'v', mountPath: '/v' }],
        },
      ],
    },
    view: ['pending', 'CLUSTER_MOUNT_FAILED', /subPath/],
  },
  'root-image': {
    script: {},
    spec: { securityContext: { runAsNonRoot: true } },
    view: ['pending', 'CLUSTER_CONTAINER_REFUSED', /runAsNonRoot/],
    final: true,
  },
  'init-failed': {
    script: {},
    spec: {
      initContainers: [
        {
          name: 'runner',
          image: 'busybox:stable',
          command: ['sh', '-c', 'echo no room; exit 4'],
          terminationMessagePolicy: 'FallbackToLogsOnError',
        },
      ],
    },
    view: [
      'ended',
      'CLUSTER_INIT_FAILED',
      /^the init container runner failed on node .* \(exit code 4\).*: no room$/,
    ],
    exitCode: null,
  },
  deadline: {
    script: stays,
    spec: { activeDeadlineSeconds: 2 },
    view: ['ended', 'SCRIPT_DEADLINE', /ran into its time limit: Pod was active/],
    exitCode: 9,
  },
  'deadline-before-the-start': {
    script: { image: 'nosuch:1', imagePullPolicy: 'Never' },
    spec: { activeDeadlineSeconds: 2 },
    view: [
      'ended',
      'CLUSTER_IMAGE_MISSING',
      /^the pod ran into its time limit before its script was started: /,
    ],
    exitCode: null,
  },
  'storage-limit': {
    script: {
      ...sh('dd if=/dev/zero of=/tmp/x bs=1M count=30; sleep 1000'),
      resources: { limits: { 'ephemeral-storage': '10Mi' } },
    },
    view: ['ended', 'CLUSTER_EVICTED', /evicted the pod: .*ephemeral.*10Mi$/],
  },
  'node-without-room': {
    script: { resources: { requests: { cpu: '1000' } } },
    spec: { nodeName: 'node-a' },
    view: ['ended', 'CLUSTER_UNSCHEDULABLE', /^node node-a refused the pod \(OutOfcpu\), so nothing ran: ./],
    exitCode: null,
  },
  'node-of-another-kind': {
    script: {},
    spec: { nodeName: 'node-a', nodeSelector: { nosuch: 'label' } },
    view: [
      'ended',
      'CLUSTER_UNSCHEDULABLE',
      /^node node-a refused the pod \(NodeAffinity\), so nothing ran: ./,
    ],
    exitCode: null,
  },
};

test('the pods are made', async () => {
  await ground.make();
  await cluster.apply({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'unbound', namespace: ground.namespace },
    spec: {
      accessModes: ['ReadWriteMany'],
      storageClassName: '',
      resources: { requests: { storage: '1Gi' } },
    },
  });
  await ground.pods(CASES);
});

for (const [name, { view, final, exitCode }] of Object.entries(CASES)) {
  const [state, code, says] = view;
  test(`${name}: viewOf() says ${state}${code === undefined ? '' : `, ${code}`}`, async (t) => {
    const said = await ground.says(name, state, code, 90_000);
    t.same([said.state, said.code], [state, code]);
    t.match(said.says, says);
    t.equal(said.final, final ?? (state === 'ended' && code !== undefined));
    if (exitCode !== undefined) t.equal(said.exitCode, exitCode);
  });
}

test('a process of a container is killed for memory and the container goes on: CLUSTER_OOM where the runtime says it', async (t) => {
  const script = { ...hungry, command: ['bash', '-c', 'tail /dev/zero; sleep 1; exit 7'] };
  await ground.pods({ 'oom-of-a-child': { script } });
  await eventually(async () => (await ground.viewOf('oom-of-a-child')).state === 'ended', 60_000);
  const view = await ground.viewOf('oom-of-a-child');
  // With cgroup v1 only the process dies; with v2 the kubelet has the whole container killed.
  const { exitCode, failure } = view.state === 'ended' ? view : { exitCode: null, failure: undefined };
  t.equal(failure?.code, 'CLUSTER_OOM');
  t.ok(exitCode === 7 || exitCode === 137, `exit code ${exitCode}`);
});

test('what is said about a pod becomes lines: where it went, that its image is there, and every warning', async (t) => {
  const lines = async (name: string) =>
    (await ground.eventsOf(name)).flatMap((event) => podEventLine(event)?.text ?? []);
  await eventually(async () => (await lines('exit-3')).length >= 2);
  t.match(await lines('exit-3'), [/^Scheduled: Successfully assigned/, /^Pulled: Container image/]);
  t.match((await lines('image-missing')).join('\n'), /^Failed: Failed to pull image/m);
});

test('the stretches of its way are told from the times of a pod', async (t) => {
  const phases = podPhasesOf(await ground.podOf('exit-3'), await ground.eventsOf('exit-3'));
  t.same(
    phases.map(({ phase }) => phase),
    ['scheduled', 'initialized', 'pulled', 'started', 'ended'],
  );
  t.ok(phases.every(({ seconds }) => seconds >= 0 && seconds < 60));
});

test('a pod that somebody deletes: CLUSTER_POD_DELETED while it ends, when it has ended, and when it is gone', async (t) => {
  await ground.keptPod('deleted', sh('trap "sleep 2; exit 9" TERM; while :; do sleep 0.2; done'), {
    terminationGracePeriodSeconds: 20,
  });
  await ground.hasStarted('deleted');
  await ground.kubectl('delete', 'pod', 'deleted', '--wait=false');
  const during = await ground.says('deleted', 'running', 'CLUSTER_POD_DELETED', 1500);
  t.same([during.state, during.code, during.final], ['running', 'CLUSTER_POD_DELETED', false]);
  t.match(await ground.says('deleted', 'ended', 'CLUSTER_POD_DELETED'), { exitCode: 9, final: true });
  const last = await ground.podOf('deleted');
  await ground.release('deleted');
  t.equal(goneView(last, await ground.eventsOf('deleted')).code, 'CLUSTER_POD_DELETED');
});

test('a pod that is deleted before its script began never begins: final at once', async (t) => {
  await ground.keptPod(
    'deleted-early',
    { image: 'registry.invalid/no/such:1' },
    { terminationGracePeriodSeconds: 30 },
  );
  await ground.says('deleted-early', 'pending', 'CLUSTER_IMAGE_MISSING');
  await ground.kubectl('delete', 'pod', 'deleted-early', '--wait=false');
  await eventually(
    async () => (await ground.podOf('deleted-early')).metadata?.deletionTimestamp !== undefined,
  );
  const view = await ground.viewOf('deleted-early');
  const trouble = view.state === 'ended' ? view.failure : view.trouble;
  t.match(trouble, { code: 'CLUSTER_POD_DELETED', final: true });
  await ground.release('deleted-early');
});

test('a pod that ended by itself and is deleted then ended by itself', async (t) => {
  await ground.keptPod('cleaned', sh('exit 3'));
  await ground.says('cleaned', 'ended');
  const endedAt = Date.now();
  // The API keeps whole seconds.
  await eventually(() => Date.now() > endedAt + 1500);
  await ground.kubectl('delete', 'pod', 'cleaned', '--wait=false');
  await eventually(async () => (await ground.podOf('cleaned')).metadata?.deletionTimestamp !== undefined);
  t.match(await ground.says('cleaned', 'ended'), { code: undefined, exitCode: 3 });
  await ground.release('cleaned');
});

test('an eviction through the API: CLUSTER_EVICTED', async (t) => {
  await ground.keptPod('evicted', stays);
  await ground.hasStarted('evicted');
  const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'evicted' } };
  const path = `/api/v1/namespaces/${ground.namespace}/pods/evicted/eviction`;
  await cluster.kubectl(['create', '--raw', path, '-f', '-'], JSON.stringify(eviction));
  t.match(await ground.says('evicted', 'ended', 'CLUSTER_EVICTED'), {
    code: 'CLUSTER_EVICTED',
    says: /through the API, as a drain of the node does: Eviction API: evicting$/,
    exitCode: 9,
  });
  await ground.release('evicted');
});

test('a pod of higher priority takes the room: CLUSTER_PREEMPTED', async (t) => {
  const name = `high-${ground.namespace}`;
  await cluster.apply({
    apiVersion: 'scheduling.k8s.io/v1',
    kind: 'PriorityClass',
    metadata: { name },
    value: 1000,
  });
  t.teardown(() => cluster.kubectl(['delete', 'priorityclass', name]));
  // One piece of a resource that nobody else asks for.
  const places = ['capacity', 'allocatable'].map((kind) => `/status/${kind}/test.longshore.dev~1berth`);
  const patch = async (changes: readonly Json[]): Promise<void> => {
    const what = JSON.stringify(changes);
    await cluster.kubectl(['patch', 'node', 'node-a', '--subresource=status', '--type=json', '-p', what]);
  };
  await patch(places.map((path) => ({ op: 'add', path, value: '1' })));
  t.teardown(() => patch(places.map((path) => ({ op: 'remove', path }))));
  const berth = { resources: { limits: { 'test.longshore.dev/berth': '1' } } };
  await ground.keptPod('preempted', { ...stays, ...berth });
  await ground.hasStarted('preempted');
  await ground.pods({ high: { script: { ...stays, ...berth }, spec: { priorityClassName: name } } });
  t.match(await ground.says('preempted', 'ended', 'CLUSTER_PREEMPTED'), {
    code: 'CLUSTER_PREEMPTED',
    says: /for one of higher priority: .*preempting to accommodate a higher priority pod$/,
  });
  const last = await ground.podOf('preempted');
  t.equal(goneView(undefined, await ground.eventsOf('preempted')).code, 'CLUSTER_PREEMPTED');
  t.equal(goneView(last, []).code, 'CLUSTER_PREEMPTED');
  await ground.release('preempted');
});

test('a taint drives the pod from a node that is well: CLUSTER_EVICTED', async (t) => {
  await ground.keptPod('tainted', stays, { nodeName: 'node-b' });
  await ground.hasStarted('tainted');
  await cluster.kubectl(['taint', 'node', 'node-b', 'test.longshore.dev/leave=now:NoExecute']);
  t.teardown(() => cluster.kubectl(['taint', 'node', 'node-b', 'test.longshore.dev/leave-']));
  t.match(await ground.says('tainted', 'ended', 'CLUSTER_EVICTED'), {
    says: /^a taint of node node-b drove/,
  });
  await ground.release('tainted');
});

test('a node that loses power: doubtful first, lost for good when the grace of the pod is over, and seen to be so when it is back', async (t) => {
  const seconds = (tolerationSeconds?: number) => ({
    nodeName: 'node-b',
    tolerations: [
      {
        key: 'node.kubernetes.io/unreachable',
        operator: 'Exists',
        effect: 'NoExecute',
        ...(tolerationSeconds !== undefined && { tolerationSeconds }),
      },
    ],
  });
  await ground.keptPod('lost', stays, { ...seconds(5), terminationGracePeriodSeconds: 10 });
  await ground.pods({ 'waits-for-the-node': { script: stays, spec: seconds() } });
  await ground.hasStarted('lost');
  await ground.hasStarted('waits-for-the-node');
  const mend = await cluster.outage.powerCut('node-b');
  t.teardown(mend);
  t.match(await ground.says('waits-for-the-node', 'running', 'CLUSTER_NODE_LOST', 120_000), {
    code: 'CLUSTER_NODE_LOST',
    says: 'node node-b does not report any more; the script may still run there',
    final: false,
  });
  await eventually(async () => {
    const view = await ground.viewOf('lost');
    return view.state === 'running' && view.trouble?.final === true;
  }, 60_000);
  t.match(await ground.says('lost', 'running', 'CLUSTER_NODE_LOST'), {
    says: /and the pod on it was given up/,
  });
  await mend();
  t.match(await ground.says('waits-for-the-node', 'ended', 'CLUSTER_NODE_LOST', 120_000), {
    code: 'CLUSTER_NODE_LOST',
    says: /^node node-b lost the container of the script/,
    exitCode: null,
  });
  await ground.release('lost');
});

test('the namespace is removed', async () => {
  await ground.remove();
});
