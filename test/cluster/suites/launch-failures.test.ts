/** Pods that a real cluster takes and cannot bring to run, through real agents: nothing of their scripts ran. */
import t from 'tap';
import type { AgentProcess } from '../../harness/agent-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { agentGroundFor, type AgentGround } from './agent-ground.ts';
import { complete, neverRuns, podOf, start, type Expected } from './provoked.ts';

/** Long enough for a slow machine to try everything once. */
const LAUNCH_MS = 30_000;
const DEBIAN = 'docker.io/library/debian:bookworm-slim';
const BUSYBOX = 'docker.io/library/busybox:stable';

interface Case extends Expected {
  readonly pod?: object;
}

/** What an agent is told, and what then becomes of its scripts. */
interface Agents {
  readonly flags: readonly string[];
  readonly scripts: Readonly<Record<string, Case>>;
}

const AGENTS: readonly Agents[] = [
  {
    flags: ['--image-pull-policy', 'IfNotPresent'],
    scripts: {
      'image-absent': {
        pod: { image: 'registry.invalid/no/such:1' },
        code: 'CLUSTER_IMAGE_MISSING',
        says: /^node node-[ab] cannot fetch the image registry\.invalid\/no\/such:1 and tries again: ./,
        raw: /"reason":"(ErrImagePull|ImagePullBackOff)"/,
        told: /^Failed: Failed to pull image "registry\.invalid\/no\/such:1"/m,
      },
      'image-misnamed': {
        pod: { image: 'NOT A NAME' },
        code: 'CLUSTER_IMAGE_INVALID',
        says: /^NOT A NAME is no name of an image: ./,
        raw: /"reason":"InvalidImageName"/,
        told: /couldn't parse image name|invalid reference format/,
      },
      'too-many-processors': {
        pod: { resources: { requests: { cpu: '1000' }, limits: { cpu: '1000' } } },
        code: 'CLUSTER_UNSCHEDULABLE',
        says: /^no node takes the pod: 0\/2 nodes are available: .*Insufficient cpu/,
        raw: /"reason":"Unschedulable"/,
        told: /^FailedScheduling: .*Insufficient cpu/m,
      },
      'no-node-of-that-kind': {
        pod: { nodeSelector: { nosuch: 'label' } },
        code: 'CLUSTER_UNSCHEDULABLE',
        says: /^no node takes the pod: .*didn't match Pod's node affinity\/selector/,
        raw: /"reason":"Unschedulable"/,
        told: /^FailedScheduling: .*node affinity\/selector/m,
      },
      'image-without-glibc': {
        pod: { image: BUSYBOX },
        code: 'CLUSTER_CONTAINER_REFUSED',
        says: /could not start the container of the script \(exit code 127\): .*\/longshore\/bin\/node failed: No such/,
        raw: /"exitCode":127/,
        told: /^\[FATAL tini \(\d+\)\] exec \/longshore\/bin\/node failed: No such file or directory/m,
      },
    },
  },
  {
    flags: ['--image-pull-policy', 'Never'],
    scripts: {
      'image-not-to-be-fetched': {
        pod: { image: 'registry.invalid/no/such:1' },
        code: 'CLUSTER_IMAGE_MISSING',
        says: /^node node-[ab] does not have the image registry\.invalid\/no\/such:1, and the pull policy/,
        raw: /"reason":"ErrImageNeverPull"/,
        told: /^ErrImageNeverPull: /m,
      },
    },
  },
  {
    flags: ['--runner-image', BUSYBOX],
    scripts: {
      'runner-image-without-runner': {
        pod: { image: DEBIAN },
        code: 'CLUSTER_INIT_FAILED',
        says: /^the init container runner failed on node node-[ab] \(exit code 128, StartError\), so the script/,
        raw: /"name":"runner","state":"terminated","reason":"StartError"/,
        told: /^Failed: Error: .*\/longshore\/bin\/node/m,
      },
    },
  },
  {
    flags: ['--runner-image', BUSYBOX, '--runner-injection', 'image-volume'],
    scripts: {
      'runner-volume-without-runner': {
        pod: { image: DEBIAN },
        code: 'CLUSTER_CONTAINER_REFUSED',
        says: /^node node-[ab] could not start the container of the script \(exit code 128\): ./,
        raw: /"reason":"StartError"/,
        told: /^Failed: Error: .*\/longshore\/image\/longshore\/bin\/tini/m,
      },
    },
  },
  {
    flags: ['--claim', 'nosuch'],
    scripts: {
      'claim-missing': {
        code: 'CLUSTER_CLAIM_UNBOUND',
        says: /^the pod waits for its volume claim: .*persistentvolumeclaim "nosuch" not found/,
        raw: /"reason":"Unschedulable"/,
        told: /^FailedScheduling: .*persistentvolumeclaim "nosuch" not found/m,
      },
    },
  },
  {
    flags: ['--claim', 'unbound'],
    scripts: {
      'claim-unbound': {
        code: 'CLUSTER_CLAIM_UNBOUND',
        says: /^the pod waits for its volume claim: .*unbound immediate PersistentVolumeClaims/,
        raw: /"reason":"Unschedulable"/,
        told: /^FailedScheduling: .*unbound immediate PersistentVolumeClaims/m,
      },
    },
  },
  {
    flags: ['--claim', 'hollow'],
    scripts: {
      'volume-behind-the-claim-gone': {
        code: 'CLUSTER_MOUNT_FAILED',
        says: /^node node-[ab] cannot mount a volume of the pod: .*hostPath type check failed: \/no\/such\/folder/,
        raw: /"reason":"FailedMount"/,
        told: /^FailedMount: .*\/no\/such\/folder/m,
      },
    },
  },
];

let ground: AgentGround;

t.before(async () => {
  ground = await agentGroundFor(t);
  await makeClaims(ground);
});

for (const { flags, scripts } of AGENTS) {
  t.test(`an agent with ${flags.join(' ')}`, async (t) => {
    const agent = await hastyAgent(flags);
    t.teardown(() => agent.kill());
    // All at once, since most of them wait for the same time to pass.
    for (const [ticket, { pod }] of Object.entries(scripts)) await start(agent, ticket, pod ? { pod } : {});
    for (const [ticket, expected] of Object.entries(scripts)) {
      await t.test(`${ticket}: ${expected.code}`, async (t) =>
        neverRuns(t, { ground, agent }, ticket, expected),
      );
    }
    await complete(t, { ground, agent }, Object.keys(scripts));
  });
}

t.test('a reason that nobody knows: CLUSTER_POD_FAILED, with its words', async (t) => {
  const agent = await hastyAgent([]);
  t.teardown(() => agent.kill());
  await start(agent, 'mystery', { pod: { nodeSelector: { nosuch: 'label' } } });
  await eventually(async () => (await ground.names('pods')).includes(podOf('mystery')), 30_000);
  const status = { phase: 'Failed', reason: 'Mystery', message: 'a word of tomorrow' };
  const what = ['--subresource=status', '--type=merge', '-p', JSON.stringify({ status })];
  await ground.kubectl('patch', 'pod', podOf('mystery'), ...what);
  await neverRuns(t, { ground, agent }, 'mystery', {
    code: 'CLUSTER_POD_FAILED',
    says: /^the pod failed on its node for a reason that the agent does not know, Mystery: a word of tomorrow$/,
    raw: /"reason":"Mystery","message":"a word of tomorrow"/,
    told: /^FailedScheduling: /m,
  });
  await complete(t, { ground, agent }, ['mystery']);
});

async function hastyAgent(flags: readonly string[]): Promise<AgentProcess> {
  const policy = { images: ['*'], resources: { cpu: '5000' }, nodeSelector: { nosuch: ['label'] } };
  const common = ['--pod-launch-timeout-ms', String(LAUNCH_MS), '--pod-policy', JSON.stringify(policy)];
  return ground.agent([...common, ...flags]);
}

/** One claim that no volume is for, and one whose volume is a folder that no node has. */
async function makeClaims({ cluster, namespace, kubectl }: AgentGround): Promise<void> {
  const storage = '1Gi';
  const spec = { accessModes: ['ReadWriteMany'], storageClassName: '' };
  const claim = { apiVersion: 'v1', kind: 'PersistentVolumeClaim' };
  const name = `${namespace}-hollow`;
  t.teardown(() => cluster.kubectl(['delete', 'persistentvolume', name, '--wait=false']));
  await cluster.apply(
    {
      ...claim,
      metadata: { namespace, name: 'unbound' },
      spec: { ...spec, resources: { requests: { storage: '1Pi' } } },
    },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name },
      spec: {
        ...spec,
        capacity: { storage },
        claimRef: { namespace, name: 'hollow' },
        hostPath: { path: '/no/such/folder', type: 'Directory' },
      },
    },
    {
      ...claim,
      metadata: { namespace, name: 'hollow' },
      spec: { ...spec, volumeName: name, resources: { requests: { storage } } },
    },
  );
  await kubectl('wait', '--for=jsonpath={.status.phase}=Bound', 'pvc/hollow', '--timeout=60s');
}
