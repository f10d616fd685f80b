/** Going on with new data after the old is proven to be gone. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { ensureLayout, findOrCreateEpoch } from '../../src/mount/epoch.ts';
import { MountRecovery } from '../../src/mount/mount-recovery.ts';
import { openCase } from '../../src/protocol/mount-verdict.ts';
import type { Belief, MountRule } from '../../src/protocol/mount-belief.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder, volumeAt } from '../harness/temporary-volume.ts';

type Test = { teardown: (work: () => unknown) => void };

/** A watch that believes what the test says. */
class MadeWatch {
  readonly expected: string[] = [];
  #belief: Belief = openCase({ atMs: 0, epoch: 'old' }).belief;
  #changed: ((belief: Belief) => void) | undefined;

  belief = (): Belief => this.#belief;
  epoch = (): string => this.expected.at(-1) ?? 'old';
  expect = (epoch: string): void => void this.expected.push(epoch);

  subscribe = (changed: (belief: Belief) => void): (() => void) => {
    this.#changed = changed;
    return () => (this.#changed = undefined);
  };

  turn(rule: MountRule): void {
    this.#belief = { ...this.#belief, rule, verdict: 'lost' };
    this.#changed?.(this.#belief);
  }
}

function recoveryOf(t: Test, isMounted: () => boolean = () => true) {
  const folder = temporaryFolder(t);
  const volume = volumeAt(folder);
  const watch = new MadeWatch();
  const failures: unknown[] = [];
  const recovery = new MountRecovery({
    ...{ watch, volume, retryMs: 20 },
    isMounted: () => Promise.resolve(isMounted()),
    failed: (error) => failures.push(error),
  });
  t.teardown(() => recovery.close());
  return { folder, volume, watch, failures, recovery };
}

test('an emptied volume gets its layout and a new epoch, which the watch is told', async (t) => {
  const { volume, watch } = recoveryOf(t);
  watch.turn('emptied');
  await eventually(() => watch.expected.length > 0);
  t.match(watch.expected[0], /^[0-9a-f]{32}$/);
  t.equal(readFileSync(volume.layout.epoch, 'latin1'), `${watch.expected[0]}\n`);
});

test('a volume that another agent has made usable meanwhile is adopted as it is', async (t) => {
  const { volume, watch } = recoveryOf(t);
  await ensureLayout(volume);
  const epoch = await findOrCreateEpoch(volume);
  watch.turn('replaced');
  await eventually(() => watch.expected.length > 0);
  t.equal(watch.expected[0], epoch);
});

test('what no agent wrote is not adopted, and is looked at again until it is gone', async (t) => {
  const { volume, watch, failures } = recoveryOf(t);
  await ensureLayout(volume);
  writeFileSync(volume.layout.epoch, 'strange');
  watch.turn('replaced');
  await eventually(() => failures.length > 1);
  t.same(watch.expected, []);
  rmSync(volume.layout.epoch);
  watch.turn('emptied');
  await eventually(() => watch.expected.length > 0);
});

test('nothing is made where the old data may come back', async (t) => {
  const { volume, watch, recovery } = recoveryOf(t);
  for (const rule of ['limit', 'stale', 'elsewhere'] as const) watch.turn(rule);
  await recovery.close();
  t.same(watch.expected, []);
  t.equal(await volume.list(volume.layout.root), undefined);
});

test('nothing is made in the bare folder below a mount that is gone', async (t) => {
  let isMounted = false;
  const { volume, watch, failures } = recoveryOf(t, () => isMounted);
  watch.turn('emptied');
  await eventually(() => failures.length > 1);
  t.match(failures[0], { code: 'STORAGE_UNREACHABLE', message: /not mounted any more/ });
  t.equal(await volume.list(volume.layout.root), undefined);
  isMounted = true;
  await eventually(() => watch.expected.length > 0);
});

test('close() ends the trials', async (t) => {
  const { folder, watch, recovery } = recoveryOf(t);
  rmSync(folder, { recursive: true });
  watch.turn('emptied');
  await recovery.close();
  mkdirSync(folder);
  watch.turn('emptied');
  t.same(watch.expected, []);
});
