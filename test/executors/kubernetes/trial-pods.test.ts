/** The pods of `longshore doctor`: what they may, where they land, and that they are gone afterwards. */
import { test } from 'tap';
import { podUser } from '../../../src/executors/kubernetes/pod-user.ts';
import {
  trialPodFor,
  trialPodNameFor,
  trialSelectorFor,
  TRIAL_VOLUME,
} from '../../../src/executors/kubernetes/trial-pod-template.ts';
import { TrialPods } from '../../../src/executors/kubernetes/trial-pods.ts';
import { podSelectorFor } from '../../../src/executors/kubernetes/pod-names.ts';
import { MadeCluster } from './made-cluster.ts';
import { aSetup } from './made-order.ts';

const run = '0011aabb';
const order = { run, side: 'left', program: 'program', argument: '{}' } as const;

test('trialPodFor() renders a pod that restricted pod security takes, with the user and claim of script pods', (t) => {
  const pod = trialPodFor(order, 'team', { ...aSetup, claimFolder: 'agents/web' });
  t.match(pod.metadata, { name: 'ls-doctor-0011aabb-left', namespace: 'team' });
  t.match(pod.spec, {
    restartPolicy: 'Never',
    automountServiceAccountToken: false,
    activeDeadlineSeconds: 90,
    securityContext: { runAsNonRoot: true, runAsUser: 10001, seccompProfile: { type: 'RuntimeDefault' } },
    volumes: [{ persistentVolumeClaim: { claimName: aSetup.claim } }],
  });
  const [container] = pod.spec?.containers ?? [];
  t.match(container, {
    image: aSetup.runnerImage,
    command: ['/longshore/bin/tini', '--', '/longshore/bin/node', '-e', 'program', '{}'],
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
    volumeMounts: [{ mountPath: TRIAL_VOLUME, subPath: 'agents/web' }],
  });
  t.end();
});

test('left and right never share a node, and a pod inside goes to the node that it is given', (t) => {
  const apart = trialPodFor(order, 'team', aSetup).spec?.affinity;
  const [rule] = apart?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  t.match(rule, { topologyKey: 'kubernetes.io/hostname' });
  t.same(rule?.labelSelector?.matchExpressions?.[0]?.values, ['left', 'right']);
  const inside = { ...order, side: 'inside', node: 'node-2', subPath: 'doctor-x/sub' } as const;
  const { spec } = trialPodFor(inside, 'team', aSetup);
  t.notOk(spec?.affinity?.podAntiAffinity);
  t.match(JSON.stringify(spec?.affinity), /"metadata.name".*"node-2"/);
  t.match(spec?.containers[0]?.volumeMounts, [{ subPath: 'doctor-x/sub' }]);
  t.end();
});

test('no agent takes them for script pods', (t) => {
  const labels = Object.entries(trialPodFor(order, 'team', aSetup).metadata?.labels ?? {});
  const said = labels.map(([name, value]) => `${name}=${value}`);
  t.notOk(
    podSelectorFor('web')
      .split(',')
      .every((part) => said.includes(part)),
  );
  for (const part of trialSelectorFor(run).split(',')) t.ok(said.includes(part), part);
  t.end();
});

test('podUser() is the configured one, and never root', (t) => {
  t.same(podUser({ podUid: 5, podGid: 6 }), { uid: 5, gid: 6 });
  t.throws(() => podUser({ podUid: 0, podGid: 0 }), { code: 'CONFIG_INVALID' });
  t.end();
});

test('TrialPods starts, looks, reads and removes; a pod that is gone already is no error', async (t) => {
  const cluster = await MadeCluster.start(t);
  const pods = new TrialPods(await cluster.connection(), aSetup, run);
  await pods.start(order);
  // The answer to the first attempt may be lost.
  await pods.start(order);
  t.match((await pods.look()).get('left'), { side: 'left', node: '', state: 'waiting' });
  const name = trialPodNameFor(run, 'left');
  const placing = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: 'no nodes' };
  cluster.pods.patch(name, { status: { phase: 'Pending', conditions: [placing] } });
  t.match((await pods.look()).get('left'), { isHomeless: true, words: 'no nodes' });
  cluster.pods.patch(name, { status: { phase: 'Running', conditions: [] } });
  t.match((await pods.look()).get('left'), { isHomeless: false, state: 'running' });
  t.same(await pods.log('right'), [], 'a pod that is not there has no lines');
  await pods.start({ ...order, side: 'right' });
  cluster.pods.remove(trialPodNameFor(run, 'right'));
  await pods.remove();
  t.equal(cluster.pods.all.size, 0);
});

test('sweep() removes pods of earlier doctors that have ended, and no others', async (t) => {
  const cluster = await MadeCluster.start(t);
  const connection = await cluster.connection();
  const before = new TrialPods(connection, aSetup, '99999999');
  await before.start({ ...order, side: 'left' });
  await before.start({ ...order, side: 'right' });
  cluster.pods.patch(trialPodNameFor('99999999', 'left'), { status: { phase: 'Failed' } });
  cluster.pods.patch(trialPodNameFor('99999999', 'right'), { status: { phase: 'Running' } });
  await new TrialPods(connection, aSetup, run).sweep();
  t.same([...cluster.pods.all.keys()], [trialPodNameFor('99999999', 'right')]);
});
