/** What becomes of scripts while their volume stalls, is lost, and comes back (invariants 4, 6, 8). */
import { rmSync } from 'node:fs';
import t, { type Test } from 'tap';
import { ensureLayout } from '../../src/mount/epoch.ts';
import type { Volume } from '../../src/mount/volume.ts';
import type { RunOrder } from '../../src/protocol/run-order.ts';
import type { ScriptRequest } from '../../src/protocol/script-request.ts';
import { FIRST_STORED, linesFor } from '../../src/scripts/agent-lines.ts';
import { IsolationTurn } from '../../src/scripts/isolation-turn.ts';
import { restoreKept } from '../../src/scripts/kept-restore.ts';
import { KeptScripts } from '../../src/scripts/kept-scripts.ts';
import { lossOutcome } from '../../src/scripts/loss-outcome.ts';
import { MountNotes } from '../../src/scripts/mount-notes.ts';
import { endUnreadable } from '../../src/scripts/prevention.ts';
import { ScriptKeeper } from '../../src/scripts/script-keeper.ts';
import { ScriptLoss } from '../../src/scripts/script-loss.ts';
import { publishScript } from '../../src/scripts/script-start.ts';
import { eventually } from '../harness/eventually.ts';
import {
  finished,
  HOUR_MS,
  key1,
  request,
  scene,
  sceneOn,
  statusOf,
  t1,
  ticketOf,
  type Scene,
} from './script-scene.ts';

const copied: ScriptRequest = { ...request, storage: 'copied' };
const rules = {
  reconcileMs: 20,
  finishedRetentionMs: HOUR_MS,
  tombstoneRetentionMs: HOUR_MS,
  keepEndedMs: HOUR_MS,
};

/** A script whose runner has claimed it. */
async function running(
  test: Test,
  body: ScriptRequest = request,
): Promise<Scene & { volume: Volume; order: RunOrder }> {
  const made = await scene(test);
  made.executor.onLaunch = (order) => void made.executor.claims(order);
  await made.book.start('server', t1, body);
  await eventually(async () => (await statusOf(made.book)).state === 'running');
  const [order] = made.executor.launched;
  if (order === undefined) throw new TypeError('nothing was launched');
  return { ...made, order };
}

/** All that agents wrote is gone, and an empty layout is in its place. */
async function emptied(volume: Volume): Promise<void> {
  rmSync(volume.layout.root, { recursive: true });
  await ensureLayout(volume);
}

/** A running script whose volume was emptied, and that was settled for it. */
async function lost(test: Test): Promise<Scene & { volume: Volume }> {
  const made = await running(test);
  const { book, mount, executor, volume } = made;
  executor.stop = () => Promise.resolve((executor.vanishes(key1), true));
  await emptied(volume);
  mount.loses();
  await finished(book);
  return made;
}

/** Another agent with the same keep, as after a restart. */
async function restarted(test: Test, { executor, mount }: Scene, volume: Volume): Promise<Scene> {
  const next = sceneOn(volume, { executor, mount });
  test.teardown(() => next.book.close());
  const keeper = new ScriptKeeper(next.room, next.book, rules);
  await keeper.start();
  test.teardown(() => keeper.close());
  return next;
}

t.test('a stall fails nothing: output still arrives, and a line says how long it was', async (t) => {
  const { book, mount, executor, order } = await running(t);
  mount.stalls();
  executor.records(order, { exitCode: 0 });
  await eventually(async () => (await statusOf(book)).journal.lines.some(({ text }) => text === 'hello'));
  t.match(await statusOf(book), { state: 'running', outcome: null });
  executor.vanishes(order.key);
  mount.returns();
  t.match(await finished(book), { outcome: { code: 'SUCCEEDED' } });
  const texts = (await statusOf(book)).journal.lines.map(({ text }) => text);
  t.ok(texts.includes('the storage stalled for 7.0 s and came back whole'), texts.join(' | '));
  t.same(executor.stopped, []);
});

t.test('a script that waits does not start during a stall', async (t) => {
  const { book, mount, executor } = await scene(t);
  mount.stalls();
  executor.onLaunch = (order) => (executor.claims(order), executor.ends(order, { exitCode: 0 }));
  await book.start('server', t1, request);
  t.same(executor.launched, []);
  mount.returns();
  t.match(await finished(book), { outcome: { code: 'SUCCEEDED' } });
});

t.test('a stall is no part of the time in which a runner must take its script', async (t) => {
  let nowMs = Date.now();
  const { volume } = await scene(t);
  const made = sceneOn(volume, { now: () => new Date(nowMs) });
  t.teardown(() => made.book.close());
  const { book, room, mount, executor } = made;
  await book.start('server', t1, request);
  await eventually(async () => (await statusOf(book)).state === 'launched');
  mount.stalls();
  nowMs += room.limits.launchTimeoutMs + 7000;
  mount.returns();
  await eventually(async () => (await statusOf(book)).journal.lines.some(({ text }) => /stalled/.test(text)));
  t.match(await statusOf(book), { state: 'launched', outcome: null });
  const [order] = executor.launched;
  if (order === undefined) throw new TypeError('nothing was launched');
  executor.claims(order);
  executor.ends(order, { exitCode: 0 });
  t.match(await finished(book), { outcome: { code: 'SUCCEEDED' } });
});

t.test('invariant 8: a running script is stopped, and its outcome names the loss', async (t) => {
  const { book, mount, executor, order, volume } = await running(t);
  await emptied(volume);
  mount.loses('STORAGE_EMPTIED');
  await eventually(() => executor.stopped.includes(key1));
  executor.ends(order, { stoppedBy: 'signal', signal: 'SIGTERM', exitCode: null });
  const { outcome, journal } = await finished(book);
  t.match(outcome, {
    ...{ code: 'STORAGE_EMPTIED', category: 'storage', signal: 'SIGTERM', says: 'the storage is lost' },
    evidence: { mount: { rule: 'emptied' } },
  });
  t.match(journal.lines.at(-1), { stream: 'agent', text: 'the storage is lost' });
  t.ok(journal.lines.some(({ text }) => text === 'hello'));
});

t.test('what cannot be ended is said, and does not keep the script from its outcome', async (t) => {
  const { book, mount, executor } = await running(t);
  executor.clear = () => Promise.reject(new Error('it stands in a system call'));
  executor.stop = () => Promise.resolve((executor.vanishes(key1), true));
  mount.loses('STORAGE_TIMEOUT');
  const { outcome } = await finished(book);
  t.match(outcome, { code: 'STORAGE_TIMEOUT', evidence: { left: 'it stands in a system call' } });
  t.same(executor.abandoned, [key1]);
});

t.test('a script that has not begun never does, copied or not', async (t) => {
  for (const body of [request, copied]) {
    const { book, mount, executor } = await scene(t);
    mount.stalls();
    await book.start('server', t1, body);
    mount.loses('STORAGE_REPLACED');
    t.match(await finished(book), { outcome: { code: 'STORAGE_REPLACED', startedAt: null } });
    mount.returns();
    t.same(executor.launched, []);
  }
});

t.test('invariant 4: what the runner itself says of its end stands', async (t) => {
  const fault = { code: 'STORAGE_STALE', says: 'the mount of the pod is stale' } as const;
  for (const [record, code] of [
    [{ exitCode: 0 }, 'SUCCEEDED'],
    [{ exitCode: 3 }, 'SCRIPT_FAILED'],
    [{ exitCode: 0, fault }, 'STORAGE_STALE'],
    [{ exitCode: 0, stoppedBy: 'signal' }, 'STORAGE_TIMEOUT'],
  ] as const) {
    const { book, mount, executor, order } = await running(t);
    mount.stalls();
    executor.ends(order, record);
    mount.loses('STORAGE_TIMEOUT');
    t.match(await finished(book), { outcome: { code } });
  }
});

t.test('a copied script goes on, and how it ends outlives the volume and the agent together', async (t) => {
  const before = await running(t, copied);
  const { book, mount, executor, order, volume } = before;
  await emptied(volume);
  mount.loses();
  await eventually(() => executor.keep.texts.has(key1));
  t.match(await statusOf(book), { state: 'running', outcome: null });
  await book.close();
  const next = await restarted(t, before, volume);
  t.match(await statusOf(next.book), { state: 'running', outcome: null });
  executor.ends(order, { exitCode: 0 });
  mount.returns('other');
  t.match(await finished(next.book), { outcome: { code: 'SUCCEEDED' } });
  t.same(executor.stopped, []);
  t.same(executor.launched.length, 1, 'invariant 3');
  await eventually(async () => (await next.room.records.outcome(key1)) !== undefined);
  await eventually(() => executor.keep.texts.size === 0);
});

t.test('an outcome outlives the loss and a restart, and comes back to the volume', async (t) => {
  const before = await lost(t);
  const { book, mount, executor, volume } = before;
  await book.close();
  const next = await restarted(t, before, volume);
  const { outcome, journal } = await statusOf(next.book);
  t.match(outcome, { code: 'STORAGE_EMPTIED' });
  t.match(journal.lines.at(-1), { text: 'the storage is lost' });
  mount.returns('other');
  await eventually(() => executor.keep.texts.size === 0);
  t.match(await next.room.records.outcome(key1), { code: 'STORAGE_EMPTIED' });
  t.match((await statusOf(next.book)).journal.lines.at(-1), { text: 'the storage is lost' });
});

t.test('invariant 3: a ticket that was completed during a loss never runs again', async (t) => {
  const before = await lost(t);
  const { book, mount, executor, volume } = before;
  await book.start('server', t1, request);
  await t.rejects(book.start('server', t1, copied), { code: 'TICKET_CONFLICT' });
  await book.complete('server', t1);
  await t.rejects(statusOf(book), { code: 'TICKET_COMPLETED' });
  await t.rejects(book.start('server', t1, request), { code: 'TICKET_COMPLETED' });
  t.same(executor.removed, [key1]);
  await book.close();
  const next = await restarted(t, before, volume);
  await t.rejects(statusOf(next.book), { code: 'TICKET_COMPLETED' });
  mount.returns('other');
  await eventually(() => executor.keep.texts.size === 0);
  await t.rejects(next.book.start('server', t1, request), { code: 'TICKET_COMPLETED' });
});

t.test('invariant 9: a copied script is cancelled while no volume can record it', async (t) => {
  const { book, mount, executor, order } = await running(t, copied);
  mount.loses();
  await eventually(() => executor.keep.texts.has(key1));
  await book.cancel('server', t1);
  await eventually(() => executor.stopped.includes(key1));
  executor.ends(order, { exitCode: null, signal: 'SIGTERM', stoppedBy: 'signal' });
  t.match(await finished(book), { outcome: { code: 'SCRIPT_CANCELLED' } });
});

t.test('invariant 10: a script waits for one of its line that outlived the volume', async (t) => {
  const isolation = { level: 'full', name: 'web' } as const;
  const { book, room, mount, executor, volume, order } = await running(t, { ...copied, isolation });
  await emptied(volume);
  mount.loses();
  await eventually(() => executor.keep.texts.has(key1));
  mount.returns('other');
  const t2 = ticketOf('t2');
  await book.start('server', t2, { ...request, isolation });
  await eventually(async () => (await statusOf(book, t2)).state === 'waiting');
  for (const kept of room.kept.all) await restoreKept(room, kept);
  t.match(await statusOf(book, t2), { state: 'waiting' }, 'its place is in the new line');
  executor.ends(order, { exitCode: 0 });
  await eventually(() => executor.launched.length === 2);
});

t.test(
  'invariant 6: while the volume is not trusted, no ticket or package is said to be unknown',
  async (t) => {
    const { book, mount } = await scene(t);
    mount.loses('STORAGE_EMPTIED');
    await t.rejects(statusOf(book), { code: 'STORAGE_EMPTIED' });
    await t.rejects(book.complete('server', t1), { code: 'STORAGE_EMPTIED' });
    const missing = { ...request, packages: [{ id: 'web', version: '1.0.0' }] };
    await t.rejects(book.start('server', t1, missing), { code: 'STORAGE_EMPTIED' });
  },
);

t.test('a keep that refuses delays an outcome and loses none', async (t) => {
  const { book, mount, executor, events } = await running(t);
  executor.stop = () => Promise.resolve((executor.vanishes(key1), true));
  executor.keep.refuses = new Error('the API server is away');
  mount.loses();
  await eventually(() => events.some(({ type }) => type === 'trouble'));
  executor.keep.refuses = undefined;
  t.match(await finished(book), { outcome: { code: 'STORAGE_EMPTIED' } });
  await eventually(() => executor.keep.texts.has(key1));
});

t.test('a kept script that no agent with this key wrote is not believed', async (t) => {
  const { room, executor } = await scene(t);
  executor.keep.texts.set(key1, 'forged\n{"outcome":{"code":"SUCCEEDED"}}');
  const kept = new KeptScripts(executor.keep, room.agentKey);
  t.equal(await kept.load(), 1);
  t.same(kept.all, []);
});

t.test('a script with more lines than can be kept keeps its last ones, with their numbers', async (t) => {
  const { room, executor } = await scene(t);
  const { asked } = await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
  const at = new Date(0).toISOString();
  const lines = Array.from({ length: 2000 }, (_, index) => ({
    ...{ at, stream: 'pod', text: `${index} ${'x'.repeat(1000)}`, mark: String(index) },
  })) as readonly { at: string; stream: 'pod'; text: string; mark: string }[];
  const nothing = { claim: null, outcome: null, tombstone: null, cancelled: false };
  await room.kept.put({ version: 1, asked, ...nothing, lines, firstLine: FIRST_STORED });
  const read = new KeptScripts(executor.keep, room.agentKey);
  await read.load();
  const kept = read.get(key1);
  t.match(kept?.lines.at(-1), { mark: '1999' });
  const shown = linesFor(asked, { stored: kept?.lines ?? [], first: kept?.firstLine ?? 0 }, 1);
  t.match(shown.at(-1), { seq: 2001 });
});

t.test('the parts of a loss by themselves', async (t) => {
  const { room, mount, executor } = await scene(t);
  const { asked } = await publishScript(room, { key: key1, server: 'server', ticket: t1, request });
  const { signal: closed } = new AbortController();
  t.equal(await new ScriptLoss(room, asked).outcome(undefined, false, closed), undefined, 'while trusted');
  t.equal(await new IsolationTurn(room, asked).hasCome(), true, 'without isolation');
  await new MountNotes(room, key1).tell();
  t.equal((await room.lines.after(asked, 1)).length, 0, 'nothing happened while it was followed');
  t.match(await endUnreadable(room, asked), { code: 'RUNNER_LOST' });
  mount.loses('STORAGE_STALE');
  const lost = { claim: undefined, cancelled: true, closed, loss: mount.belief() };
  t.match(await lossOutcome(room, asked, lost), { code: 'SCRIPT_CANCELLED' });
  const ending = lossOutcome(room, asked, { ...lost, cancelled: false });
  mount.returns();
  t.match(
    await ending,
    { code: 'STORAGE_STALE' },
    'also where the volume is back before the script has ended',
  );
  t.same(executor.launched, []);
});
