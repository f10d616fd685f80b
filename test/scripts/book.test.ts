import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { START_OF_JOURNAL } from '../../src/protocol/cursor.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { parseManifest } from '../../src/protocol/manifest.ts';
import type { ScriptRequest } from '../../src/protocol/script-request.ts';
import { scriptKeyFor, type ScriptKey } from '../../src/protocol/ticket.ts';
import { readPage } from '../../src/scripts/journal-page.ts';
import { runOrderFor, sealVariables } from '../../src/scripts/run-order.ts';
import { ScriptDriver } from '../../src/scripts/script-driver.ts';
import { ScriptKeeper } from '../../src/scripts/script-keeper.ts';
import { bodyMarkOf, variablesOf, workspacePlanFor } from '../../src/scripts/script-plan.ts';
import { cookieOf, journalKeyOf } from '../../src/scripts/script-room.ts';
import { publishScript } from '../../src/scripts/script-start.ts';
import { settledOutcome } from '../../src/scripts/settle.ts';
import { Sweeper } from '../../src/scripts/sweeper.ts';
import { VolumeLocks } from '../../src/staging/lock.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryVolume } from '../harness/temporary-volume.ts';

import {
  agentKey,
  request,
  HOUR_MS,
  sceneOn,
  scene,
  ticketOf,
  t1,
  key1,
  finished,
  statusOf,
} from './script-scene.ts';

t.test(
  'a script goes from published to finished, and its runner gets all that it needs and nothing else',
  async (t) => {
    const { book, executor, events, volume, room } = await scene(t);
    executor.onLaunch = (order) => {
      executor.claims(order);
      executor.ends(order, { exitCode: 0 });
    };
    const variables = [{ name: 'A', value: 'secret-value', sensitive: true }];
    await book.start('server', t1, { ...request, arguments: ['a b'], variables, labels: { project: 'p' } });
    const { outcome, journal, labels } = await finished(book);
    t.match(outcome, { code: 'SUCCEEDED', exitCode: 0 });
    t.strictSame(labels, { project: 'p' });
    t.strictSame(journal.lines.map(({ id, stream }) => [id, stream]).sort(), [
      ['a1', 'agent'],
      ['s1', 'stdout'],
    ]);
    const [order] = executor.launched;
    t.match(order, { ticket: 't1', arguments: ['a b'], variables, epoch: 'epoch', deadlineMs: 60_000 });
    const manifest = parseManifest(
      (await volume.read(volume.layout.workspace(key1).manifest, 1e6)) ?? Buffer.alloc(0),
    );
    t.equal(manifest?.key, key1);
    t.strictSame(
      events
        .filter((event) => event.type === 'state')
        .map(({ state }) => state)
        .filter((state) => state !== 'launched'),
      ['running', 'finished'],
    );
    const asked = (await volume.read(volume.layout.ticket(key1).asked, 1e6))?.toString() ?? '';
    t.notMatch(asked, /secret-value/, 'no secret is on the volume in clear (invariant 11)');
    t.notMatch(
      asked,
      new RegExp(journalKeyOf(room, key1).toString('base64').slice(0, 20).replaceAll('+', '.')),
    );
  },
);

t.test(
  'another body is refused, the same one is not, and after DELETE a tombstone answers (invariant 3)',
  async (t) => {
    const { book, executor } = await scene(t);
    await book.start('server', t1, request);
    await book.start('server', t1, { ...request });
    await t.rejects(book.start('server', t1, { ...request, body: 'echo other' }), {
      code: 'TICKET_CONFLICT',
    });
    await t.rejects(book.complete('server', t1), { code: 'SCRIPT_UNFINISHED' });
    await t.rejects(book.artifacts('server', t1), { code: 'SCRIPT_UNFINISHED' });
    await eventually(() => executor.launched.length === 1);
    const [order] = executor.launched;
    if (order) executor.claims(order);
    if (order) executor.ends(order, {});
    await finished(book);
    t.strictSame(await book.artifacts('server', t1), []);
    await t.rejects(book.openArtifact('server', t1, 'x'), { code: 'ARTIFACT_UNKNOWN' });
    await book.complete('server', t1);
    await book.complete('server', t1);
    await t.rejects(statusOf(book), { code: 'TICKET_COMPLETED' });
    await t.rejects(book.start('server', t1, request), { code: 'TICKET_COMPLETED' });
    t.equal(executor.launched.length, 1);
    t.strictSame(new Set(executor.removed), new Set([key1]));
  },
);

t.test('a ticket belongs to the server that made it', async (t) => {
  const { book } = await scene(t);
  await book.start('server', t1, request);
  const query = { after: START_OF_JOURNAL, waitMs: 0, signal: new AbortController().signal };
  await t.rejects(book.status('other', t1, query), { code: 'TICKET_UNKNOWN' });
  await t.rejects(book.cancel('other', t1), { code: 'TICKET_UNKNOWN' });
  await t.rejects(book.complete('other', t1), { code: 'TICKET_UNKNOWN' });
});

t.test(
  'a cancel before the runner has its claim wins: nothing of the script runs, ever (invariant 9)',
  async (t) => {
    const { book, executor, volume } = await scene(t);
    await book.start('server', t1, request);
    await eventually(() => executor.launched.length === 1);
    await book.cancel('server', t1);
    const { outcome, journal } = await finished(book);
    t.match(outcome, { code: 'SCRIPT_CANCELLED', startedAt: null });
    t.match(journal.lines.map(({ text }) => text).join('\n'), /cancel was asked for/);
    const [order] = executor.launched;
    t.throws(
      () => order && executor.claims(order),
      { code: 'EEXIST' },
      'the runner that was on its way comes too late',
    );
    t.ok(existsSync(volume.layout.workspace(key1).started));
  },
);

t.test(
  'a cancel while the script runs stops the runner, and one that does not stop is cleared',
  async (t) => {
    const { book, executor } = await scene(t);
    executor.onLaunch = (order) => executor.claims(order);
    await book.start('server', t1, request);
    await eventually(async () => (await statusOf(book)).state === 'running');
    await book.cancel('server', t1);
    await eventually(() => executor.stopped.length > 0);
    const [order] = executor.launched;
    if (order) executor.ends(order, { stoppedBy: 'signal', exitCode: 0 });
    t.match((await finished(book)).outcome, { code: 'SCRIPT_CANCELLED', evidence: { cancelled: true } });
  },
);

t.test(
  'a runner that cannot be started, or that dies before its claim, is told as such within its limit',
  async (t) => {
    const { book, executor, events } = await scene(t);
    executor.refuses = new Fault('RUNNER_NOT_STARTED', 'no more processes');
    await book.start('server', t1, request);
    t.match((await finished(book)).outcome, { code: 'RUNNER_NOT_STARTED', startedAt: null });
    t.ok(events.some((event) => event.type === 'trouble' && event.step === 'launch'));

    executor.refuses = undefined;
    const t2 = ticketOf('t2');
    executor.onLaunch = ({ key }) => {
      executor.says(key, Buffer.from('node: not found\n'));
      executor.vanishes(key);
    };
    await book.start('server', t2, request);
    const { outcome, journal } = await finished(book, t2);
    t.match(outcome, { code: 'RUNNER_NOT_STARTED' });
    t.ok(
      journal.lines.some(({ stream, text }) => stream === 'pod' && text === 'node: not found'),
      'its last words are kept',
    );

    const t3 = ticketOf('t3');
    executor.onLaunch = () => undefined;
    await book.start('server', t3, request);
    t.match(
      (await finished(book, t3)).outcome,
      { code: 'RUNNER_NOT_STARTED' },
      'it was alive and never took its claim',
    );
  },
);

t.test(
  'a runner that vanishes without an end record is no success, and its processes are ended (invariant 4)',
  async (t) => {
    const { book, executor, room } = await scene(t);
    executor.onLaunch = (order) => {
      executor.claims(order);
      executor.says(order.key, Buffer.from('LS1 1-1 AAAA\nRangeError: out of luck\n'));
      executor.vanishes(order.key);
    };
    await book.start('server', t1, request);
    const { outcome, journal } = await finished(book);
    t.match(outcome, {
      code: 'RUNNER_LOST',
      exitCode: null,
      evidence: { missing: ['end frame on stdout', /journal/, /result/] },
    });
    t.ok(executor.cleared.includes(key1));
    t.equal(journal.lines.filter(({ stream }) => stream === 'pod').length, 2);
    const asked = await room.records.asked(key1);
    if (asked === undefined) throw new TypeError('no record');
    const claim = {
      by: 'runner',
      pid: 1,
      startTicks: '',
      bootId: '',
      host: '',
      stdout: null,
      at: new Date().toISOString(),
    } as const;
    t.match(await settledOutcome(room, asked, { claim, cancelled: true }), { code: 'SCRIPT_CANCELLED' });
    const old = { ...claim, at: new Date(0).toISOString() };
    t.match(await settledOutcome(room, asked, { claim: old, cancelled: false }), { code: 'SCRIPT_DEADLINE' });
    const { page } = await readPage(room, asked, {
      after: START_OF_JOURNAL,
      outcome: undefined,
      place: undefined,
    });
    t.equal(page.lines.length, journal.lines.length);
  },
);

t.test('a claim that is only half there is given time and then told as a lost runner', async (t) => {
  const { book, executor } = await scene(t);
  executor.onLaunch = (order) => writeFileSync(`${order.workspace}/out/started`, '{"by":"run');
  await book.start('server', t1, request);
  t.match((await finished(book)).outcome, { code: 'RUNNER_LOST' });
});

t.test('a workspace that is gone is named, not waited for', async (t) => {
  const { room, volume, executor } = await scene(t);
  const { asked } = await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
  await volume.removeTree(volume.layout.staging(asked.staging).root);
  await new ScriptDriver(room, asked, { closed: new AbortController().signal, isNew: false }).drive();
  t.match(await room.records.outcome(key1), { code: 'WORKSPACE_LOST', category: 'staging' });
  t.equal(executor.launched.length, 0);
});

t.test('another agent takes up what the first one left, and both may drive it', async (t) => {
  const { room, volume, executor } = await scene(t);
  await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
  const second = sceneOn(volume, { executor });
  t.teardown(() => second.book.close());
  executor.onLaunch = (order) => {
    if (!existsSync(`${order.workspace}/out/started`)) executor.claims(order);
    executor.ends(order, { exitCode: 9 });
  };
  const keeper = new ScriptKeeper(second.room, second.book, {
    reconcileMs: 50,
    finishedRetentionMs: HOUR_MS,
    tombstoneRetentionMs: HOUR_MS,
    keepEndedMs: HOUR_MS,
  });
  await keeper.start();
  t.teardown(() => keeper.close());
  t.match((await finished(second.book)).outcome, { code: 'SCRIPT_FAILED', exitCode: 9 });
});

t.test('an agent with another key neither drives a script nor reads its journal', async (t) => {
  const { room, volume } = await scene(t);
  const { asked } = await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
  const foreign = sceneOn(volume, { agentKey: randomBytes(32) });
  foreign.book.follow(asked);
  t.equal(foreign.book.isFollowed(key1), false);
  await t.rejects(statusOf(foreign.book), { code: 'KEY_FOREIGN' });
  await t.rejects(foreign.book.start('server', t1, request), { code: 'KEY_FOREIGN' });
  t.throws(() => runOrderFor(foreign.room, asked), { code: 'KEY_FOREIGN' });
  await foreign.book.close();
});

t.test(
  'finished scripts are completed and tombstones forgotten when their time is over, and not before',
  async (t) => {
    let offsetMs = 0;
    const volume = await temporaryVolume(t);
    const { book, room, executor } = sceneOn(volume, { now: () => new Date(Date.now() + offsetMs) });
    t.teardown(() => book.close());
    executor.onLaunch = (order) => {
      executor.claims(order);
      executor.ends(order, { endedAt: new Date().toISOString() });
    };
    await book.start('server', t1, request);
    await finished(book);
    const keeper = new ScriptKeeper(room, book, {
      reconcileMs: 50,
      finishedRetentionMs: HOUR_MS,
      tombstoneRetentionMs: HOUR_MS,
      keepEndedMs: HOUR_MS,
    });
    t.strictSame(await keeper.sweep(), { completed: 0, forgotten: 0, runs: 0 });
    offsetMs = 2 * HOUR_MS;
    t.strictSame(await keeper.sweep(), { completed: 1, forgotten: 0, runs: 0 });
    await t.rejects(statusOf(book), { code: 'TICKET_COMPLETED' });
    offsetMs = 4 * HOUR_MS;
    t.strictSame(await keeper.sweep(), { completed: 0, forgotten: 1, runs: 0 });
    t.strictSame(await room.records.keys(), []);
  },
);

t.test('a kill between tombstone and removal leaves nothing: the next look finishes it', async (t) => {
  const { room, book, executor, volume } = await scene(t);
  executor.onLaunch = (order) => {
    executor.claims(order);
    executor.ends(order, {});
  };
  await book.start('server', t1, request);
  await finished(book);
  await room.records.recordTombstone(key1, { completedAt: new Date().toISOString(), code: 'SUCCEEDED' });
  const keeper = new ScriptKeeper(room, book, {
    reconcileMs: 50,
    finishedRetentionMs: HOUR_MS,
    tombstoneRetentionMs: HOUR_MS,
    keepEndedMs: HOUR_MS,
  });
  await keeper.look();
  t.equal(await volume.list(volume.layout.workspace(key1).root), undefined);
});

t.test(
  'more scripts than the limit are refused, and a stopping agent takes none (invariant 13)',
  async (t) => {
    const { book } = await scene(t);
    for (const name of ['a', 'b', 'c']) await book.start('server', ticketOf(name), request);
    t.equal(
      [...book.counts.values()].reduce((sum, count) => sum + count, 0),
      3,
    );
    await t.rejects(book.start('server', ticketOf('d'), request), { code: 'SCRIPTS_TOO_MANY' });
    await book.start('server', ticketOf('a'), request);
    await book.close();
    await t.rejects(book.start('server', ticketOf('e'), request), { code: 'AGENT_STOPPING' });
  },
);

t.test('a plan refuses bad paths, digests and names by field, and joins Windows lines for bash', (t) => {
  const plan = (more: Partial<ScriptRequest>): unknown => workspacePlanFor(key1, { ...request, ...more });
  t.throws(() => plan({ files: [{ path: '../x', content: '' }] }), {
    code: 'PATH_INVALID',
    detail: { field: '/files/0/path' },
  });
  t.throws(() => plan({ files: [{ path: 'x', digest: 'md5:1' }] }), { code: 'DIGEST_INVALID' });
  t.throws(() => plan({ packages: [{ id: '..', version: '1' }] }), { code: 'PACKAGE_NAME_INVALID' });
  t.throws(() => plan({ packages: [{ id: 'a', version: '' }] }), {
    code: 'PACKAGE_NAME_INVALID',
    detail: { field: '/packages/0/version' },
  });
  t.match(plan({ body: 'a\r\nb\r\n' }), { script: Buffer.from('a\nb\n') });
  t.strictSame(variablesOf({ ...request, variables: [{ name: 'A', value: 'b' }] }), [
    { name: 'A', value: 'b', sensitive: false },
  ]);
  t.not(
    bodyMarkOf(agentKey, key1, request),
    bodyMarkOf(randomBytes(32), key1, request),
    'a mark cannot be tried out without the key',
  );
  t.end();
});

t.test('cookie and keys are the same after a restart, and another for every script', async (t) => {
  const { room } = await scene(t);
  const other: ScriptKey = scriptKeyFor('server', ticketOf('other'));
  t.equal(cookieOf(room, key1), cookieOf({ ...room }, key1));
  t.not(cookieOf(room, key1), cookieOf(room, other));
  t.not(sealVariables(room, key1, []), sealVariables(room, key1, []), 'sealed under a fresh nonce each time');
});

t.test(
  'a sweep takes what is left over and leaves what a record names; of two agents one sweeps (invariant 13)',
  async (t) => {
    const { room, book, volume } = await scene(t);
    const { asked } = await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
    const stray = volume.layout.staging('0123456789abcdef').root;
    await volume.makeFolder(stray);
    const old = new Date(Date.now() - 48 * HOUR_MS);
    for (const folder of [stray, volume.layout.staging(asked.staging).root])
      await volume.setTimes(folder, old);
    const keeper = new ScriptKeeper(room, book, {
      reconcileMs: 50,
      finishedRetentionMs: HOUR_MS,
      tombstoneRetentionMs: HOUR_MS,
      keepEndedMs: HOUR_MS,
    });
    const locks = new VolumeLocks(volume, { staleMs: 40_000, updateMs: 8000 });
    const rules = { sweepMs: 1, leftoverAgeMs: HOUR_MS, unusedAgeMs: HOUR_MS };
    const held = await locks.holdLock('sweep');
    const sweeper = new Sweeper(
      room,
      { keeper, locks: new VolumeLocks(volume, { staleMs: 40_000, updateMs: 8000 }) },
      rules,
    );
    t.equal(await sweeper.sweep(), 'held-elsewhere');
    await held?.release();
    t.match(await sweeper.sweep(), { stagings: 1, completed: 0 });
    t.equal(await volume.list(stray), undefined);
    t.ok(await volume.list(volume.layout.staging(asked.staging).root), 'the record names it');
    const told: object[] = [];
    const stop = new AbortController();
    const running = sweeper.run(stop.signal, (swept) => told.push(swept));
    await eventually(() => told.length > 0);
    stop.abort();
    await running;
  },
);
