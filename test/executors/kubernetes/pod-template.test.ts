/** What the pod of a script looks like. Each golden file is a whole object; LONGSHORE_WRITE_GOLDEN=1 writes them anew. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { V1Pod } from '@kubernetes/client-node';
import fc from 'fast-check';
import { test } from 'tap';
import type { Plain } from '../../../src/executors/kubernetes/api-object.ts';
import {
  orderSecretFor,
  orderSecretNameOf,
  orderInPod,
} from '../../../src/executors/kubernetes/order-secret.ts';
import { initContainersFor, scriptContainerFor } from '../../../src/executors/kubernetes/pod-containers.ts';
import { imageFor, runnerSourceFor } from '../../../src/executors/kubernetes/pod-image.ts';
import { labelsAnnotationFor, podLabelsFor } from '../../../src/executors/kubernetes/pod-labels.ts';
import { podNameFor, podSelectorFor, scriptKeyOf } from '../../../src/executors/kubernetes/pod-names.ts';
import { resourcesFor } from '../../../src/executors/kubernetes/pod-resources.ts';
import type { PodOrder, PodSetup } from '../../../src/executors/kubernetes/pod-setup.ts';
import { podFor } from '../../../src/executors/kubernetes/pod-template.ts';
import { scriptMountsFor, volumesFor } from '../../../src/executors/kubernetes/pod-volumes.ts';
import { parseRunOrder } from '../../../src/protocol/run-order.ts';
import { parseTicket, scriptKeyFor } from '../../../src/protocol/ticket.ts';
import { anOrder, aSetup } from './made-order.ts';

const suffix = '0a1b2c3d';
const plain: PodOrder = { order: anOrder, suffix };
const foreign: PodOrder = { ...plain, wishes: { image: 'debian:bookworm-slim' } };
const labelled: PodOrder = {
  ...plain,
  labels: {
    task: 'ServerTasks-4711',
    environment: 'Production',
    step: 'Deploy the web site',
    project: '',
    tenant: 'Grün & Söhne',
    'octopus.com/space': 'Spaces-1',
    team: 'of-the-script',
    group: 'others',
    ticket: 'another',
  },
};
const uid = '11111111-2222-3333-4444-555555555555';

const everything: PodSetup = {
  ...aSetup,
  claimFolder: 'agents/web',
  owner: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'longshore', uid },
  podDefaults: {
    serviceAccount: 'scripts',
    resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '1Gi' } },
    nodeSelector: { 'kubernetes.io/os': 'linux', pool: 'any' },
    tolerations: [{ key: 'scripts', operator: 'Exists' }],
    imagePullSecrets: ['registry'],
    priorityClassName: 'scripts',
    labels: { team: 'web', 'longshore.dev/group': 'not-ours' },
    annotations: { 'sidecar.istio.io/inject': 'false' },
  },
};
const wishful: PodOrder = {
  ...plain,
  wishes: {
    serviceAccount: 'deployer',
    resources: { requests: { memory: '2Gi' }, limits: { cpu: '50m', 'nvidia.com/gpu': '1' } },
    nodeSelector: { pool: 'gpu' },
    tolerations: [
      { key: 'gpu', operator: 'Equal', value: 'yes', effect: 'NoSchedule' },
      {
        key: 'node.kubernetes.io/unreachable',
        operator: 'Exists',
        effect: 'NoExecute',
        tolerationSeconds: 5,
      },
    ],
  },
};

const copiedOrder = { ...anOrder, copy: { folder: null, maxBytes: 2 ** 30, collectMs: 60_000 } };

const goldens: Record<string, () => unknown> = {
  'default-image': () => podFor(plain, aSetup),
  'foreign-image-by-init-container': () => podFor(foreign, aSetup),
  'foreign-image-by-image-volume': () => podFor(foreign, { ...aSetup, runnerInjection: 'image-volume' }),
  'read-write-once': () => podFor(plain, { ...aSetup, claimAccess: 'rwo', nodeName: 'node-a' }),
  'all-settings-and-wishes': () => podFor(wishful, everything),
  labels: () => podFor(labelled, aSetup),
  'copied-script': () => podFor({ ...plain, order: copiedOrder }, aSetup),
  'order-secret': () => orderSecretFor(createdPod(podFor(plain, aSetup)), anOrder),
};

/** As the API server gives it back. */
function createdPod(pod: Plain<V1Pod>): Plain<V1Pod> {
  return { ...pod, metadata: { ...pod.metadata, uid } };
}

for (const [name, render] of Object.entries(goldens)) {
  test(`podFor() and orderSecretFor() render what golden/${name}.json says`, async (t) => {
    const path = `test/executors/kubernetes/golden/${name}.json`;
    const rendered: unknown = JSON.parse(JSON.stringify(render()));
    if (process.env['LONGSHORE_WRITE_GOLDEN'] === '1') {
      writeFileSync(path, `${JSON.stringify(rendered, null, 2)}\n`);
    }
    t.same(rendered, JSON.parse(readFileSync(path, 'utf8')));
  });
}

test('podFor()', async (t) => {
  t.test('never takes identity, restart policy, mounts or security from a script', async (t) => {
    const base = podFor(plain, everything);
    const wished = podFor(wishful, everything);
    t.same(wished.metadata, base.metadata);
    t.equal(wished.spec?.restartPolicy, 'Never');
    t.same(wished.spec?.securityContext, base.spec?.securityContext);
    t.same(wished.spec?.volumes, base.spec?.volumes);
    const [container, baseContainer] = [wished.spec?.containers[0], base.spec?.containers[0]];
    t.same(container?.volumeMounts, baseContainer?.volumeMounts);
    t.same(container?.securityContext, baseContainer?.securityContext);
    t.same(container?.command, baseContainer?.command);
  });

  t.test('takes no label from a script that the operator or the agent has given', async (t) => {
    const podDefaults = { labels: { 'longshore.dev/environment': 'test' } };
    const { metadata } = podFor(labelled, { ...aSetup, podDefaults });
    t.match(metadata?.labels, { 'longshore.dev/environment': 'test', 'longshore.dev/group': 'web' });
    t.equal(metadata?.annotations?.['longshore.dev/ticket'], 'deploy-17');
    t.match(JSON.parse(metadata?.annotations?.['longshore.dev/labels'] ?? ''), { environment: 'Production' });
  });

  t.test('keeps our labels where the configuration names the same ones', async (t) => {
    t.equal(podFor(plain, everything).metadata?.labels?.['longshore.dev/group'], 'web');
  });

  t.test(
    'has a deadline that holds while no agent is there, and none for a script without one',
    async (t) => {
      // 1 h + 10 s grace + 2.5 s drain + 15 min for the launch, rounded up.
      t.equal(podFor(plain, aSetup).spec?.activeDeadlineSeconds, 3600 + 10 + 900 + 3);
      const endless = { ...plain, order: { ...anOrder, deadlineMs: null } };
      t.equal(podFor(endless, aSetup).spec?.activeDeadlineSeconds, undefined);
    },
  );

  t.test('gives a runner that gets TERM the time for grace, drain and its end record', async (t) => {
    t.equal(podFor(plain, aSetup).spec?.terminationGracePeriodSeconds, 13 + 15);
  });

  t.test('gives up a lost node after 30 s, unless somebody said otherwise', async (t) => {
    const seconds = (order: PodOrder) =>
      podFor(order, aSetup).spec?.tolerations?.map(
        ({ key, tolerationSeconds }) => `${key ?? ''} ${tolerationSeconds ?? ''}`,
      );
    t.same(seconds(plain), ['node.kubernetes.io/not-ready 30', 'node.kubernetes.io/unreachable 30']);
    t.match(seconds(wishful), [
      'gpu ',
      'node.kubernetes.io/unreachable 5',
      'node.kubernetes.io/not-ready 30',
    ]);
  });

  t.test('refuses a setup that can run nothing', async (t) => {
    t.throws(() => podFor(plain, { ...aSetup, claimAccess: 'rwo' }), TypeError);
    t.throws(() => podFor(plain, { ...aSetup, uid: 0 }), TypeError);
  });

  t.test('has no secret and no variable in its text (invariant 11)', async (t) => {
    for (const order of [plain, foreign, wishful]) {
      const text = JSON.stringify(podFor(order, everything));
      for (const secret of [anOrder.journalKey, anOrder.cookie, 'hunter22', 'Db.Password', 'production']) {
        t.notOk(text.includes(secret), secret);
      }
    }
  });
});

test('the mounts show a script its own workspace and nothing of another one (invariant 12)', async (t) => {
  const mounts = scriptMountsFor(foreign, everything);
  const ofClaim = mounts.filter(({ name }) => name === 'claim');
  const own = `agents/web/longshore-v1/work/${anOrder.key}`;
  t.same(
    ofClaim.map(({ subPath, readOnly }) => `${subPath ?? 'everything'} ${readOnly ? 'ro' : 'rw'}`),
    [`${own} ro`, `${own}/files rw`, `${own}/out rw`, 'agents/web/longshore-v1/identity ro'],
  );
  const volumes = volumesFor(foreign, everything).map(({ name }) => name);
  t.same(new Set(mounts.map(({ name }) => name)), new Set(volumes), 'every volume is mounted');
});

test('runnerSourceFor() brings the runner into every image but the configured one', async (t) => {
  t.equal(imageFor(plain, aSetup), aSetup.scriptImage);
  t.equal(runnerSourceFor(plain, aSetup), 'own');
  t.equal(runnerSourceFor({ ...plain, wishes: { image: aSetup.scriptImage } }, aSetup), 'own');
  t.equal(runnerSourceFor(foreign, aSetup), 'init');
  t.same(initContainersFor(plain, aSetup), {});
  t.match(scriptContainerFor(foreign, { ...aSetup, runnerInjection: 'image-volume' }).command, [
    '/longshore/image/longshore/bin/tini',
  ]);
});

test('pod names lead back to their scripts, and other names to none', async (t) => {
  fc.assert(
    fc.property(fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/), fc.string(), (text, server) => {
      const ticket = parseTicket(text);
      if (ticket === undefined) return false;
      const name = podNameFor(scriptKeyFor(server, ticket));
      // A name of a pod is a DNS label here, so that it is the host name and the value of a label too.
      return /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name) && podNameFor(keyOf(name)) === name;
    }),
  );
  for (const name of ['longshore-agent-0', 'ls-', 'ls-other', anOrder.key])
    t.equal(scriptKeyOf(name), undefined);
  t.equal(
    podSelectorFor('web'),
    'app.kubernetes.io/managed-by=longshore,app.kubernetes.io/component=script,longshore.dev/group=web',
  );
});

test('podLabelsFor() gives what Kubernetes takes, whatever a script is labelled with', async (t) => {
  const name = fc.stringMatching(/^[A-Za-z0-9._/-]{1,63}$/);
  fc.assert(
    fc.property(fc.dictionary(name, fc.oneof(fc.string(), fc.stringMatching(/^[\w.-]{0,70}$/))), (labels) => {
      const given = podLabelsFor(labels);
      t.same(JSON.parse(labelsAnnotationFor(labels)['longshore.dev/labels'] ?? '{}'), labels);
      return Object.entries(given).every(
        ([key, value]) =>
          /^longshore\.dev\/(?=.{1,63}$)[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?$/.test(key) &&
          /^(?=.{0,63}$)([A-Za-z0-9]([\w.-]*[A-Za-z0-9])?)?$/.test(value) &&
          labels[key.slice('longshore.dev/'.length)] === value,
      );
    }),
  );
});

function keyOf(name: string) {
  const key = scriptKeyOf(name);
  if (key === undefined) throw new TypeError(`no key in ${name}`);
  return key;
}

test('resourcesFor() lets a default give way that contradicts a wish', async (t) => {
  const defaults = { requests: { memory: '1Gi' }, limits: { memory: '2Gi' } };
  t.same(resourcesFor(undefined, defaults), defaults);
  t.same(resourcesFor({ limits: { memory: '512Mi' } }, defaults), {
    requests: { memory: '512Mi' },
    limits: { memory: '512Mi' },
  });
  t.same(resourcesFor({ requests: { memory: '3Gi' } }, defaults), {
    requests: { memory: '3Gi' },
    limits: { memory: '3Gi' },
  });
  t.same(resourcesFor({ requests: { cpu: '1' } }), { requests: { cpu: '1' } });
  t.same(resourcesFor(), {});
});

test('orderSecretFor()', async (t) => {
  t.test('tells a copied script the folder that its pod has for it', async (t) => {
    const { copy } = orderInPod(copiedOrder);
    const mounts = scriptMountsFor({ ...plain, order: copiedOrder }, aSetup);
    t.ok(mounts.some(({ mountPath }) => copy?.folder?.startsWith(`${mountPath}/`)));
  });

  const pod = createdPod(podFor(plain, aSetup));

  t.test('holds an order that a runner reads, with the places of the pod', async (t) => {
    const bytes = Buffer.from(orderSecretFor(pod, anOrder).data?.['order.json'] ?? '', 'base64');
    t.same(parseRunOrder(bytes.toString('utf8')), {
      ...anOrder,
      workspace: '/longshore/workspace',
      epochFile: '/longshore/identity/epoch',
      mountFolder: '/longshore/identity',
    });
  });

  t.test('takes its name from the pod, so that one who adopts the pod makes the same Secret', async (t) => {
    t.equal(orderSecretNameOf(pod), `ls-${anOrder.key}-${suffix}`);
    t.equal(orderSecretNameOf({ spec: { containers: [] } }), undefined);
  });

  t.test('refuses a pod that the API server did not give back', async (t) => {
    t.throws(() => orderSecretFor(podFor(plain, aSetup), anOrder), TypeError);
  });

  t.test('refuses an order that no Secret holds, and says how large it is', async (t) => {
    const order = { ...anOrder, arguments: ['x'.repeat(1024 * 1024)] };
    t.throws(() => orderSecretFor(pod, order), {
      code: 'CLUSTER_POD_REFUSED',
      message: /a Secret holds at most/,
    });
  });
});
