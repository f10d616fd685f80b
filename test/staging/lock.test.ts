/** Locks that save work, and that nothing is correct because of (decisions 0010 and 0017). */
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { test } from 'tap';
import type { Volume } from '../../src/mount/volume.ts';
import { lockFilesOn } from '../../src/staging/lock-files.ts';
import { VolumeLocks, type HeldLock, type LockOptions } from '../../src/staging/lock.ts';
import { eventually } from '../harness/eventually.ts';
import { faultyVolume } from '../harness/faulty-volume.ts';
import { codeOf } from '../harness/stores.ts';
import { temporaryFolder, temporaryVolume, volumeAt } from '../harness/temporary-volume.ts';

/** As short as the library lets a refresh be. */
const options: LockOptions = { staleMs: 2500, updateMs: 1000 };

/** So many agents on one volume. Each sees it under another path, since the library keeps its locks by path. */
async function agents(
  t: { teardown: (work: () => void) => void },
  count: number,
): Promise<{ volume: Volume; locks: VolumeLocks }[]> {
  const volume = await temporaryVolume(t);
  const folder = volume.layout.root.slice(0, volume.layout.root.lastIndexOf('/'));
  const links = temporaryFolder(t);
  return Array.from({ length: count }, (_, index) => {
    const path = join(links, `agent-${index}`);
    symlinkSync(folder, path);
    const seen = volumeAt(path);
    return { volume: seen, locks: new VolumeLocks(seen, options) };
  });
}

function sure<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('there is none');
  return value;
}

function lockFolder(volume: Volume, name: string): string {
  return `${volume.layout.lock(name)}.lock`;
}

test('withLock() runs the work of one agent at a time, and frees the lock afterwards', async (t) => {
  const [one, other] = await agents(t, 2);
  const { promise, resolve } = Promise.withResolvers<string>();
  const first = sure(one).locks.withLock('sweep', () => promise);
  await eventually(() => existsSync(lockFolder(sure(one).volume, 'sweep')));
  t.equal(await sure(other).locks.withLock('sweep', async () => 'mine'), 'held-elsewhere');
  t.equal(await sure(one).locks.withLock('sweep', async () => 'mine'), 'held-elsewhere', 'to itself as well');
  t.equal(await sure(other).locks.withLock('else', async () => 'mine'), 'mine', 'names are apart');
  resolve('done');
  t.equal(await first, 'done');
  t.equal(await sure(other).locks.withLock('sweep', async () => 'mine'), 'mine');
  t.strictSame(readdirSync(sure(one).volume.layout.locks), []);
});

test('withLock() frees the lock when the work fails, and passes on its error', async (t) => {
  const [one] = await agents(t, 1);
  await t.rejects(
    sure(one).locks.withLock('sweep', () => Promise.reject(new Error('work'))),
    { message: 'work' },
  );
  t.strictSame(readdirSync(sure(one).volume.layout.locks), []);
});

test('of many agents that see one dead lock, exactly one takes it over, and holds it', async (t) => {
  const all = await agents(t, 6);
  // What an agent leaves that was killed.
  mkdirSync(lockFolder(sure(all[0]).volume, 'sweep'));
  const from = performance.now();
  let holders = 0;
  const held = await Promise.all(
    all.map(async ({ locks }) => {
      let mine: HeldLock | undefined;
      // Long enough for a second one to come in by mistake.
      const isOver = (): boolean => performance.now() - from > 2 * options.staleMs;
      await eventually(async () => (mine = await locks.holdLock('sweep')) !== undefined || isOver());
      if (mine) holders += 1;
      return mine;
    }),
  );
  t.equal(holders, 1);
  t.ok(performance.now() - from >= options.staleMs);
  for (const mine of held) t.equal(mine?.signal.aborted ?? false, false);
  for (const mine of held) await mine?.release();
  t.strictSame(readdirSync(sure(all[0]).volume.layout.locks), []);
});

test('lockIsLive() is true once a refresh was seen, and a live lock is never taken over', async (t) => {
  const [one, other] = await agents(t, 2);
  const held = sure(await sure(one).locks.holdLock('sweep'));
  t.equal(await sure(other).locks.lockIsLive('none'), false);
  t.equal(await sure(other).locks.lockIsLive('sweep'), false, 'one look tells nothing');
  const until = performance.now() + options.staleMs + options.updateMs;
  await eventually(async () => {
    t.equal(await sure(other).locks.holdLock('sweep'), undefined);
    return performance.now() > until;
  });
  t.equal(await sure(other).locks.lockIsLive('sweep'), true);
  t.notOk(held.signal.aborted);
  await held.release();
  t.equal(await sure(other).locks.lockIsLive('sweep'), false);
});

test('a challenger that was killed while it took a lock over does not stand in the way for ever', async (t) => {
  const [one] = await agents(t, 1);
  const { volume, locks } = sure(one);
  mkdirSync(lockFolder(volume, 'sweep'));
  mkdirSync(`${lockFolder(volume, 'sweep')}.reclaim`);
  let held: Awaited<ReturnType<VolumeLocks['holdLock']>>;
  await eventually(async () => (held = await locks.holdLock('sweep')) !== undefined);
  await held?.release();
  t.strictSame(readdirSync(volume.layout.locks), []);
});

test('the signal aborts when the lock is taken away, and release() then leaves the lock of the next one alone', async (t) => {
  const [one, other] = await agents(t, 2);
  const held = sure(await sure(one).locks.holdLock('sweep'));
  const folder = lockFolder(sure(one).volume, 'sweep');
  renameSync(folder, `${folder}.away`);
  rmdirSync(`${folder}.away`);
  const next = sure(await sure(other).locks.holdLock('sweep'));
  await eventually(() => held.signal.aborted);
  t.match(held.signal.reason, { code: 'STORAGE_ERROR' });
  await held.release();
  t.ok(existsSync(folder));
  t.notOk(next.signal.aborted);
  await next.release();
  t.notOk(existsSync(folder));
});

test('release() leaves the lock of the next one alone although the loss was not noticed yet', async (t) => {
  const [one, other] = await agents(t, 2);
  const held = sure(await sure(one).locks.holdLock('sweep'));
  const folder = lockFolder(sure(one).volume, 'sweep');
  renameSync(folder, `${folder}.away`);
  const next = sure(await sure(other).locks.holdLock('sweep'));
  await held.release();
  t.ok(existsSync(folder));
  rmdirSync(`${folder}.away`);
  await next.release();
});

test('the signal aborts when the lock cannot be refreshed, well before another may take it', async (t) => {
  const folder = temporaryFolder(t);
  for (const place of volumeAt(folder).layout.folders) await volumeAt(folder).makeFolder(place);
  let broken = false;
  const volume = faultyVolume(folder, () => (broken ? { errno: 'EIO' } : undefined));
  const held = sure(await new VolumeLocks(volume, options).holdLock('sweep'));
  const from = performance.now();
  broken = true;
  await eventually(() => held.signal.aborted);
  t.ok(performance.now() - from < options.staleMs);
  t.match(held.signal.reason, { code: 'STORAGE_TIMEOUT' });
  await held.release();
  t.pass('and release() does not fail for it');
});

test('holdLock() says what the volume says when it cannot be used', async (t) => {
  const volume = faultyVolume(temporaryFolder(t), () => ({ errno: 'EROFS' }));
  t.equal(await codeOf(new VolumeLocks(volume, options).holdLock('sweep')), 'STORAGE_READONLY');
});

test('invariant 7: nothing waits for the volume when the process exits', async (t) => {
  const events = { refreshed: () => undefined, ownInode: () => undefined };
  const files = lockFilesOn(volumeAt(temporaryFolder(t)), events);
  t.strictSame(Object.keys(files).sort(), ['mkdir', 'rmdir', 'stat', 'utimes'], 'no synchronous call');
});
