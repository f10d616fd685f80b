/** Scripts and their executor together, on an API server that fails them: what is seen of a launch, and how it ends. */
import { test } from 'tap';
import type { KubernetesExecutor } from '../../src/executors/kubernetes/kubernetes-executor.ts';
import type { ScriptBook } from '../../src/scripts/script-book.ts';
import { MadeCluster } from '../executors/kubernetes/made-cluster.ts';
import { eventually } from '../harness/eventually.ts';
import { finished, request, scene, sceneOn, statusOf, t1 } from './script-scene.ts';

type Test = { teardown: (work: () => unknown) => void };

async function setting(
  t: Test,
  launchTimeoutMs: number,
): Promise<{ cluster: MadeCluster; executor: KubernetesExecutor; book: ScriptBook }> {
  const cluster = await MadeCluster.start(t);
  const executor = await cluster.agent({ apiDeadlineMs: 300 });
  const made = await scene(t);
  const limits = { ...made.room.limits, launchTimeoutMs };
  const { book } = sceneOn(made.volume, { executor, limits });
  t.teardown(() => book.close());
  return { cluster, executor, book };
}

test('a launch that times out while the API server is away is CLUSTER_UNREACHABLE, with since when and why', async (t) => {
  const { cluster, book } = await setting(t, 7000);
  await book.start('server', t1, request);
  await eventually(async () => (await statusOf(book)).state === 'launched');
  await cluster.server.stop();
  const { outcome, journal } = await finished(book);
  t.match(outcome, {
    code: 'CLUSTER_UNREACHABLE',
    says: /^since .* the API server does not say what becomes of the pod: .*ECONNRE/,
    startedAt: null,
    evidence: { since: String, lastHeard: String, met: /ECONNRE/ },
  });
  t.equal(journal.lines.filter(({ text }) => text === outcome?.says).length, 1, 'who waits for it reads why');
});

test('a script stays unlaunched while its Secret is refused, and its pod gets it by the next launch', async (t) => {
  const { cluster, book } = await setting(t, 60_000);
  cluster.before = (name, exchange) => {
    if (name !== 'create secrets') return false;
    exchange.refuse(403, 'Forbidden', 'secrets "x" is forbidden: exceeded quota: q, requested: secrets=1');
    return true;
  };
  await book.start('server', t1, request);
  await eventually(async () => JSON.stringify(await statusOf(book)).includes('exceeded quota: q'));
  t.equal(cluster.pods.all.size, 1);
  t.equal((await statusOf(book)).state, 'published');
  cluster.before = () => false;
  await eventually(async () => (await statusOf(book)).state === 'launched');
  t.same([cluster.pods.all.size, cluster.secrets.size], [1, 1]);
});
