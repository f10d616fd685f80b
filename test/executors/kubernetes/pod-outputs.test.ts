/** The logs of pods on local disk: what of them can be read, and when the volume has to do. */
import { existsSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'tap';
import type { ApiEvent } from '../../../src/executors/kubernetes/api-call.ts';
import { PodOutputs } from '../../../src/executors/kubernetes/pod-outputs.ts';
import { PodOutput } from '../../../src/executors/kubernetes/pod-output.ts';
import { eventually } from '../../harness/eventually.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { key, MadeCluster, orderOf } from './made-cluster.ts';

type Test = { teardown: (work: () => unknown) => void };

interface Setting {
  readonly cluster: MadeCluster;
  readonly outputs: PodOutputs;
  readonly folder: string;
  readonly events: ApiEvent[];
  told: number;
}

async function setting(t: Test, more: { maxComplete?: number } = {}): Promise<Setting> {
  const cluster = await MadeCluster.start(t);
  cluster.makePod();
  cluster.runs();
  const folder = join(temporaryFolder(t), 'logs');
  const events: ApiEvent[] = [];
  const outputs = new PodOutputs({
    ...{ connection: await cluster.connection(), folder, spoolBytes: 2 ** 20 },
    observe: (event) => events.push(event),
    isOver: () => cluster.log.isOver,
    isDoubtful: () => false,
    changed: () => (all.told += 1),
    ...more,
  });
  const all = { cluster, outputs, folder, events, told: 0 };
  t.teardown(() => outputs.close());
  return all;
}

/** Lets the clock of this process go on by so much. */
function later(t: Test, ms: number): void {
  const now = performance.now.bind(performance);
  performance.now = () => now() + ms;
  t.teardown(() => (performance.now = now));
}

/** What this process holds open. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}

async function text(output: PodOutput | undefined): Promise<string | undefined> {
  const witness = output?.openWitness();
  return witness && String(await witness.readAt(0, await witness.size()));
}

test('open() follows the log of a pod once, however often it is asked, and tells of what comes', async (t) => {
  const all = await setting(t);
  const { cluster, outputs } = all;
  cluster.log.write(['one']);
  const [output, same] = await Promise.all([outputs.open(key, 'uid-1'), outputs.open(key, 'uid-1')]);
  t.ok(output instanceof PodOutput);
  t.equal(output, same);
  t.equal(outputs.of(key), output);
  await eventually(async () => (await text(output)) === 'one\n');
  await eventually(() => cluster.log.readers.size === 1);
  const before = all.told;
  cluster.log.write(['two']);
  await eventually(() => all.told > before);
  t.equal(await text(output), 'one\ntwo\n');
  t.equal(cluster.calls('get pods/log').length, 1);
  t.same(outputs.keys, [key]);
});

test('an output is read until its log was read to the end after the container had ended', async (t) => {
  const { cluster, outputs } = await setting(t);
  t.equal(outputs.isReading(key), false, 'nobody wanted it');
  const output = await outputs.open(key, 'uid-1');
  t.equal(outputs.isReading(key), true);
  t.equal(output?.hasEnded, false);
  await eventually(() => cluster.log.readers.size === 1);
  cluster.log.write(['last words']);
  cluster.log.finish();
  output?.wake();
  await output?.whenComplete();
  t.equal(await text(output), 'last words\n');
  t.equal(outputs.isReading(key), false);
});

test('a log that ends in good order may be that of a container that has ended, until it goes on', async (t) => {
  const { cluster, outputs } = await setting(t);
  const output = await outputs.open(key, 'uid-1');
  await eventually(() => cluster.log.readers.size === 1);
  cluster.log.disturb((reader) => reader.end());
  await eventually(() => output?.hasEnded === true);
  await eventually(() => cluster.log.readers.size === 1);
  cluster.log.write(['it was the server']);
  await eventually(async () => (await text(output)) !== '');
  t.equal(output?.hasEnded, false);
});

test('there is no witness while a log is broken off for more than 2 s, and there is one again when it is followed, also in silence', async (t) => {
  const { cluster, outputs } = await setting(t);
  cluster.log.write(['one']);
  const output = await outputs.open(key, 'uid-1');
  await eventually(async () => (await text(output)) === 'one\n');
  await cluster.server.stop();
  const brokenAt = performance.now();
  await eventually(async () => (await text(output)) === undefined);
  t.ok(performance.now() - brokenAt > 1900);
  await cluster.server.listen();
  await eventually(async () => (await text(output)) === 'one\n');
});

test('what was read of a log stays readable when the rest of it cannot come any more', async (t) => {
  const { cluster, outputs } = await setting(t);
  cluster.log.write(['one']);
  const output = await outputs.open(key, 'uid-1');
  await eventually(async () => (await text(output)) === 'one\n');
  cluster.pods.remove(`ls-${key}`);
  cluster.log.finish();
  await output?.whenComplete();
  t.equal(await text(output), 'one\n');
  later(t, 10_000);
  t.equal(await text(output), 'one\n', 'later too');
});

test('a local disk that takes nothing is no witness, and the same lines come again when it does', async (t) => {
  const { cluster, outputs, folder, events } = await setting(t);
  const output = await outputs.open(key, 'uid-1');
  await eventually(() => cluster.log.readers.size === 1);
  // The first segment cannot be made.
  mkdirSync(join(folder, key, '0'.repeat(16)));
  cluster.log.write(['one']);
  await eventually(() =>
    events.some((event) => event.type === 'log-restart' && event.reason === 'not-taken'),
  );
  await eventually(async () => (await text(output)) === undefined);
  const asked = cluster.calls('get pods/log').length;
  await eventually(() => cluster.calls('get pods/log').length > asked);
  t.equal(await text(output), undefined, 'also when the log can be read again');
  t.equal(outputs.isReading(key), true);
  await outputs.remove(key);
  t.equal(existsSync(join(folder, key)), false);
});

test('where no spool can be made there is nothing to wait for, and it is told why', async (t) => {
  const all = await setting(t);
  writeFileSync(all.folder, 'in the way');
  t.equal(await all.outputs.open(key, 'uid-1'), undefined);
  t.equal(all.outputs.of(key), undefined);
  t.equal(all.outputs.isReading(key), false);
  t.ok(all.told > 0);
  t.match(all.events, [{ type: 'log-restart', reason: 'not-taken', error: { code: /^E(NOTDIR|EXIST)$/ } }]);
  t.equal(await all.outputs.open(key, 'uid-1'), undefined);
  await all.outputs.remove(key);
  t.same(all.outputs.keys, []);
});

test('the log of a pod that took the place of another is read from its beginning, although that of the other is over', async (t) => {
  const { cluster, outputs } = await setting(t);
  cluster.log.write(['of the first']);
  const first = await outputs.open(key, 'uid-1');
  await eventually(() => cluster.log.readers.size === 1);
  cluster.pods.remove(`ls-${key}`);
  cluster.log.finish();
  await first?.whenComplete();
  cluster.makePod();
  cluster.log.isOver = false;
  cluster.log.rotate(0);
  cluster.log.write(['of the second']);
  const second = await outputs.open(key, 'uid-2');
  t.not(second, first);
  t.equal(outputs.of(key), second);
  t.equal(outputs.isReading(key), true);
  await eventually(async () => (await text(second)) === 'of the second\n');
});

test('logs that were read to their end hold no file open, and the oldest go when there are too many', async (t) => {
  const { cluster, outputs, folder } = await setting(t, { maxComplete: 0 });
  cluster.log.write(['one']);
  const output = await outputs.open(key, 'uid-1');
  cluster.log.isOver = true;
  output?.wake();
  await eventually(() => output?.isComplete === true);
  t.equal(await text(output), 'one\n');
  t.notOk(openFiles().some((path) => path.startsWith(folder)));
  await outputs.open(orderOf('another').key, 'uid-2');
  await eventually(() => outputs.of(key) === undefined);
  t.same(readdirSync(folder), [orderOf('another').key]);
});

test('remove() ends the follow and takes the files; a script that has none is no error', async (t) => {
  const { cluster, outputs, folder } = await setting(t);
  cluster.log.write(['one']);
  const output = await outputs.open(key, 'uid-1');
  await eventually(async () => (await text(output)) === 'one\n');
  await Promise.all([outputs.remove(key), outputs.remove(key)]);
  await outputs.remove(orderOf('another').key);
  t.same(readdirSync(folder), []);
  await eventually(() => cluster.log.readers.size === 0);
  t.equal(outputs.of(key), undefined);
});

test('close() ends every follow and takes the files; clear() takes those of an agent that was killed', async (t) => {
  const { cluster, outputs, folder } = await setting(t);
  cluster.log.write(['one']);
  const output = await outputs.open(key, 'uid-1');
  await eventually(async () => (await text(output)) === 'one\n');
  await outputs.close();
  await eventually(() => cluster.log.readers.size === 0);
  t.same(readdirSync(folder), []);
  mkdirSync(join(folder, 'of-a-killed-agent'));
  await outputs.clear();
  await outputs.clear();
  t.equal(existsSync(folder), false);
  t.equal(existsSync(dirname(folder)), true);
});

test('a log whose first answer does not come cannot be read either', async (t) => {
  const { cluster, outputs } = await setting(t);
  cluster.before = (name) => name === 'get pods/log';
  const output = await outputs.open(key, 'uid-1');
  await eventually(() => cluster.calls('get pods/log').length === 1);
  t.equal(output?.isAway, false);
  later(t, 2001);
  t.equal(output?.isAway, true);
  t.equal(output?.openWitness(), undefined);
});
