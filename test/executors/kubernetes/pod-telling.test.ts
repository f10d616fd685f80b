/** What the executor tells of a pod while it runs, and what can be read of its log, whoever is late or away. */
import { test } from 'tap';
import { eventually } from '../../harness/eventually.ts';
import { becomes, runningPod, text, watched } from './made-agent.ts';
import { claim, key, MadeCluster, orderOf } from './made-cluster.ts';
import { anOrder } from './made-order.ts';

test('witness() is there when the container has begun, and gone with the script', async (t) => {
  const cluster = await MadeCluster.start(t);
  const executor = await cluster.agent();
  await executor.launch(anOrder);
  t.equal(await executor.witness(key), undefined);
  cluster.runs();
  cluster.log.write(['one']);
  await eventually(async () => (await text(executor)) === 'one\n');
  await executor.remove(key);
  t.equal(await executor.witness(key), undefined);
});

test('witness() of a script that is over and that nobody follows is fetched first', async (t) => {
  const { cluster, executor } = await runningPod(t);
  cluster.log.write(['one', 'two']);
  cluster.ends();
  await becomes(executor, 'gone');
  t.same(cluster.calls('get pods/log'), []);
  t.equal(await text(executor), 'one\ntwo\n');
});

test('witness() of a script that is over gets what a dead connection did not bring', async (t) => {
  const cluster = await MadeCluster.start(t);
  cluster.makePod();
  cluster.runs();
  cluster.log.write(['one']);
  const executor = await cluster.agent({ apiDeadlineMs: 15_000 });
  await eventually(async () => (await text(executor)) === 'one\n');
  await eventually(() => cluster.log.readers.size === 1);
  cluster.log.readers.clear();
  cluster.log.write(['two']);
  cluster.ends();
  await becomes(executor, 'gone');
  t.equal(await text(executor), 'one\ntwo\n');
});

test('witness() waits for such a log no longer than for a call', async (t) => {
  const cluster = await MadeCluster.start(t);
  cluster.makePod();
  cluster.ends();
  cluster.before = (name) => name === 'get pods/log';
  const executor = await cluster.agent({ apiDeadlineMs: 1000 });
  const startedAt = performance.now();
  t.equal((await text(executor)) ?? '', '');
  t.ok(performance.now() - startedAt < 10_000);
});

test('watch() says the events of before and after it, each again under the same mark', async (t) => {
  const { cluster, executor } = await runningPod(t);
  cluster.says('e1', 'Scheduled', 'to node-a');
  cluster.says('e2', 'Started', 'is not worth a line');
  cluster.makePod(orderOf('another').key);
  const first = watched(executor);
  await eventually(() => first.lines.length === 1);
  const second = watched(executor);
  t.match(first.lines, [{ text: 'Scheduled: to node-a', mark: /^event-Scheduled-[0-9a-f]+$/ }]);
  t.equal(second.lines[0]?.mark, first.lines[0]?.mark);
  cluster.says('e3', 'FailedMount', 'no such claim', { type: 'Warning' });
  await eventually(() => second.lines.length === 2);
  t.equal(second.lines[1]?.text, 'FailedMount: no such claim');
  t.equal(first.lines.length, 1, 'the later watch has taken the place of the first');
});

test('watch() tells nothing when its signal has aborted, before or after', async (t) => {
  const { cluster, executor } = await runningPod(t);
  cluster.says('e1', 'Scheduled', 'to node-a');
  const changed = (): void => void t.fail('told');
  executor.watch(key, claim, { changed, says: changed, signal: AbortSignal.abort() });
  const seen = watched(executor);
  await eventually(() => seen.lines.length === 1);
  seen.over.abort();
  const { told } = seen;
  cluster.says('e2', 'FailedMount', 'no such claim', { type: 'Warning' });
  cluster.makePod(orderOf('after').key);
  await eventually(async () => (await executor.keys()).length === 2);
  t.same([seen.told, seen.lines.length], [told, 1]);
});

test('watch() tells of output from before the container began until it has ended', async (t) => {
  const cluster = await MadeCluster.start(t);
  const executor = await cluster.agent();
  const seen = watched(executor);
  await executor.launch(anOrder);
  cluster.runs();
  await eventually(() => cluster.log.readers.size === 1);
  const before = seen.told;
  cluster.log.write(['one']);
  await eventually(() => seen.told > before);
  await eventually(async () => (await text(executor)) === 'one\n');
});
