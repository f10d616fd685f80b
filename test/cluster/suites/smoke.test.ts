/** The test cluster does what the other suites take for granted. */
import { readFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { test } from 'tap';
import { theCluster } from '../cluster.ts';
import { eventually } from '../../harness/eventually.ts';

const cluster = theCluster();
const namespace = `smoke-${randomBytes(4).toString('hex')}`;
const inNamespace = ['--namespace', namespace];

interface Wishes {
  readonly node?: string;
  readonly claim?: string;
  readonly image?: string;
}

/** Creates a pod that runs `script` once. */
async function runPod(
  name: string,
  script: string,
  { node, claim, image = 'busybox:stable' }: Wishes = {},
): Promise<void> {
  await cluster.apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      ...(node === undefined ? {} : { nodeName: node }),
      containers: [
        {
          name: 'script',
          image,
          imagePullPolicy: 'Never',
          command: ['sh', '-c', script],
          ...(claim === undefined ? {} : { volumeMounts: [{ name: 'shared', mountPath: '/shared' }] }),
        },
      ],
      ...(claim === undefined
        ? {}
        : { volumes: [{ name: 'shared', persistentVolumeClaim: { claimName: claim } }] }),
    },
  });
}

async function succeeded(...names: readonly string[]): Promise<void> {
  const pods = names.map((name) => `pod/${name}`);
  await cluster.kubectl([
    'wait',
    '--for=jsonpath={.status.phase}=Succeeded',
    ...pods,
    '--timeout=60s',
    ...inNamespace,
  ]);
}

const logOf = async (name: string): Promise<string> => cluster.kubectl(['logs', name, ...inNamespace]);

const readyOf = async (node: string): Promise<string> =>
  cluster.kubectl(['get', 'node', node, '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}']);

test('a namespace for these tests', async () => {
  await cluster.kubectl(['create', 'namespace', namespace]);
  await eventually(async () =>
    (await cluster.kubectl(['get', 'serviceaccounts', ...inNamespace])).includes('default'),
  );
});

test('both nodes are Ready', async (t) => {
  for (const node of cluster.nodes) t.equal(await readyOf(node), 'True', node);
});

test('a pod runs on each node, and its log is read', async (t) => {
  for (const node of cluster.nodes) await runPod(`hello-${node}`, `echo from $(hostname)`, { node });
  await succeeded(...cluster.nodes.map((node) => `hello-${node}`));
  for (const node of cluster.nodes) t.equal(await logOf(`hello-${node}`), `from hello-${node}\n`);
});

test('a foreign image with glibc and bash is there', async (t) => {
  await runPod('foreign', 'bash -c "echo \\$BASH_VERSION" && ldd --version | head -1', {
    image: 'debian:bookworm-slim',
  });
  await succeeded('foreign');
  t.match(await logOf('foreign'), /^5\..*\n.*GLIBC/);
});

test('two pods on two nodes write one file of the claim, and the machine reads it', async (t) => {
  const folder = await cluster.sharedClaim(namespace, 'shared');
  const [first, second] = cluster.nodes;
  const wait = (other: string) => `until grep -qs ${other} /shared/file; do sleep 0.1; done`;
  await runPod('writer-a', `echo a >> /shared/file; ${wait('b')}`, { node: first, claim: 'shared' });
  await runPod('writer-b', `${wait('a')}; echo b >> /shared/file`, { node: second, claim: 'shared' });
  await succeeded('writer-a', 'writer-b');
  t.equal(readFileSync(`${folder}/file`, 'utf8'), 'a\nb\n');
});

test('a pod finds the API server by its name', async (t) => {
  const name = 'kubernetes.default.svc.cluster.local';
  await runPod(
    'names',
    `nslookup ${name}; nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null && echo reached`,
  );
  await succeeded('names');
  t.match(await logOf('names'), /Address: 10\.98\.0\.1\n[^]*reached/);
});

test('the API server is killed: a pod goes on, and all is there when it is back', async (t) => {
  await runPod('survivor', 'until [ -e /tmp/end ]; do sleep 0.1; done; echo survived');
  await cluster.kubectl(['wait', '--for=condition=Ready', 'pod/survivor', '--timeout=60s', ...inNamespace]);
  const back = await cluster.outage.apiServerKilled();
  await t.rejects(readyOf('node-a'), /refused/);
  await back();
  await cluster.kubectl(['exec', 'survivor', ...inNamespace, '--', 'touch', '/tmp/end']);
  await succeeded('survivor');
  t.equal(await logOf('survivor'), 'survived\n');
});

test('the API server is frozen: a call gets no answer until it thaws', async (t) => {
  const back = await cluster.outage.apiServerFrozen();
  await t.rejects(cluster.kubectl(['get', '--raw', '/readyz', '--request-timeout=2s']), /imeout|deadline/);
  await back();
  t.equal(await cluster.kubectl(['get', '--raw', '/readyz']), 'ok');
});

for (const [outage, says] of [
  ['kubeletKilled', /refused/],
  ['networkCut', /timed out|timeout|no route|deadline/i],
] as const)
  test(`${outage}: the log of a pod is out of reach until it is mended`, async (t) => {
    const node = cluster.nodes[0];
    const back = await cluster.outage[outage](node);
    await t.rejects(cluster.kubectl(['logs', `hello-${node}`, ...inNamespace, '--request-timeout=5s']), says);
    await back();
    t.equal(await logOf(`hello-${node}`), `from hello-${node}\n`);
  });

test('containerd is restarted: a running pod does not notice', async (t) => {
  const node = cluster.nodes[1];
  await runPod('undisturbed', 'until [ -e /tmp/end ]; do sleep 0.1; done; echo undisturbed', { node });
  await cluster.kubectl([
    'wait',
    '--for=condition=Ready',
    'pod/undisturbed',
    '--timeout=60s',
    ...inNamespace,
  ]);
  await cluster.outage.containerdRestarted(node);
  await cluster.kubectl(['exec', 'undisturbed', ...inNamespace, '--', 'touch', '/tmp/end']);
  await succeeded('undisturbed');
  t.equal(await logOf('undisturbed'), 'undisturbed\n');
});

test('a node loses its power: it boots again and runs pods', async (t) => {
  const node = cluster.nodes[1];
  const boot = await cluster.outage.powerCut(node);
  await t.rejects(cluster.inNode(node, ['true']), /does not run/);
  await boot();
  await runPod('after-boot', 'echo booted', { node });
  await succeeded('after-boot');
  t.equal(await logOf('after-boot'), 'booted\n');
});

test('the namespace is removed', async () => {
  await cluster.kubectl(['delete', 'namespace', namespace, '--timeout=60s']);
});
