/** What a runner believes of its mount, with looks that are made. */
import { writeFileSync } from 'node:fs';
import { test } from 'tap';
import { Fault } from '../../src/protocol/fault.ts';
import { FrameWriter } from '../../src/runner/frame-writer.ts';
import { noteVerdicts } from '../../src/runner/mount-notes.ts';
import { MountProbe } from '../../src/runner/mount-probe.ts';
import { faultOfMount } from '../../src/runner/mount-watch.ts';
import { throughStalls } from '../../src/runner/through-stalls.ts';
import { VolumeFiles } from '../../src/runner/volume-files.ts';
import { limits } from '../protocol/made-evidence.ts';
import { hangOpensOf } from './hung-path.ts';
import { watchOf, type Look } from './made-watch.ts';
import { decode, stageScript, streamOf, until } from './staged-script.ts';

const { signal } = new AbortController();
const quick = { probeIntervalMs: 5, absentAgainMs: 1, stallLimitMs: 50 };

test('MountProbe', async (t) => {
  t.test('reads the epoch of the volume, and tells one that is gone from another one', async (t) => {
    const { order, places } = stageScript(t, 'true');
    const probe = new MountProbe(order, new VolumeFiles({ deadlineMs: 1000 }));
    t.match(await probe.look(), { root: { is: 'ok' }, epoch: { is: 'read', epoch: 'epoch-1' } });
    writeFileSync(order.epochFile, '');
    t.match(await probe.look(), { epoch: { is: 'empty' } });
    writeFileSync(order.epochFile, 'x'.repeat(10_000));
    t.match(await probe.look(), { epoch: { is: 'read' } });
    const gone = { ...order, epochFile: `${places.root}/gone` };
    t.match(await new MountProbe(gone, new VolumeFiles({ deadlineMs: 1000 })).look(), {
      root: { is: 'ok' },
      epoch: { is: 'absent' },
    });
    const nowhere = { ...order, mountFolder: `${places.root}/gone` };
    t.match(await new MountProbe(nowhere, new VolumeFiles({ deadlineMs: 1000 })).look(), {
      root: { is: 'errno', number: 2, name: 'ENOENT' },
    });
  });

  t.test('invariant 7: has one call of a kind in the kernel, however often it looks', async (t) => {
    const { order } = stageScript(t, 'true', { mount: { ...limits, probeDeadlineMs: 50 } });
    const files = new VolumeFiles({ deadlineMs: 1000 });
    const release = hangOpensOf(t, order.epochFile);
    const probe = new MountProbe(order, files);
    const missed = { root: { is: 'ok' }, epoch: { is: 'missed', afterMs: 50 } };
    for (let looks = 0; looks < 3; looks += 1) t.match(await probe.look(), missed);
    t.equal(files.inside, 1);
    release();
    await until('the call returned', () => files.inside === 0);
    t.match(await probe.look(), { epoch: { is: 'read' } });
  });
});

test('MountWatch', async (t) => {
  t.test('looks by itself, and goes on while it is not trusted', async (t) => {
    const { watch, looked } = watchOf(t, ['good', 'stuck', 'good'], quick);
    await until('looks', () => looked() > 4);
    t.match(watch.belief, { verdict: 'trusted' });
    t.match(watch.report, { verdict: 'trusted', stalls: 1 });
    watch.stop();
  });

  t.test('has nothing to report of a mount that was trusted all the time', async (t) => {
    const { watch } = watchOf(t, ['good'], quick);
    await watch.settled(signal);
    t.equal(watch.report, undefined);
  });

  const losses: [Look, string][] = [
    ['other', 'STORAGE_REPLACED'],
    ['gone', 'STORAGE_EMPTIED'],
    ['stuck', 'STORAGE_TIMEOUT'],
    ['eio', 'STORAGE_ERROR'],
    ['stale', 'STORAGE_STALE'],
    ['eacces', 'STORAGE_DENIED'],
  ];
  for (const [look, code] of losses) {
    t.test(`calls a volume lost that says "${look}" for too long`, async (t) => {
      const { watch } = watchOf(t, [look], quick);
      await until('a loss', () => watch.belief.verdict === 'lost');
      const belief = await watch.lost;
      t.match(belief, { verdict: 'lost', code });
      t.match(faultOfMount(belief), { code, message: /^the volume is lost: / });
      t.match(await watch.settled(signal), { verdict: 'lost' });
    });
  }

  t.test('settled() believes no look that began before it was asked', async (t) => {
    const { watch, looked } = watchOf(t, ['stuck', 'good']);
    watch.hint();
    t.match(await watch.settled(signal), { verdict: 'trusted' });
    t.equal(looked(), 2);
  });

  t.test('settled() ends with its signal, whatever hangs', async (t) => {
    const { watch } = watchOf(t, ['stuck']);
    const over = new AbortController();
    const settled = watch.settled(over.signal);
    await until('a stall', () => watch.belief.verdict === 'stalled');
    over.abort();
    t.match(await settled, { verdict: 'stalled' });
  });

  t.test('hint() looks at once, and not for each of many faults', async (t) => {
    const { watch, looked } = watchOf(t, ['good']);
    for (let faults = 0; faults < 10; faults += 1) watch.hint();
    await until('a look', () => looked() > 0);
    watch.hint();
    t.equal(looked(), 1);
  });
});

test('throughStalls()', async (t) => {
  const fault = (code: 'STORAGE_ERROR' | 'STORAGE_FULL' | 'STAGING_MISMATCH'): Fault => new Fault(code, 'x');
  const failing = (times: number, error: Fault) => {
    let calls = 0;
    const work = async (): Promise<number> => {
      calls += 1;
      if (calls <= times) throw error;
      return calls;
    };
    return { work, calls: () => calls };
  };

  t.test('tries again when the volume is whole', async (t) => {
    const { watch } = watchOf(t, ['stuck', 'good']);
    t.equal(await throughStalls(watch, signal, failing(2, fault('STORAGE_ERROR')).work), 3);
  });

  t.test('gives up what fails on a volume that is whole', async (t) => {
    const { watch } = watchOf(t, ['good']);
    const { work, calls } = failing(9, fault('STORAGE_ERROR'));
    await t.rejects(throughStalls(watch, signal, work), { code: 'STORAGE_ERROR' });
    t.equal(calls(), 3);
  });

  t.test('does not try again what no stall explains', async (t) => {
    const { watch, looked } = watchOf(t, ['good']);
    await t.rejects(throughStalls(watch, signal, failing(1, fault('STORAGE_FULL')).work), {
      code: 'STORAGE_FULL',
    });
    t.equal(looked(), 0);
  });

  t.test('invariant 6: asks the epoch before it believes that a file is missing', async (t) => {
    const whole = watchOf(t, ['good']).watch;
    const other = watchOf(t, ['other']).watch;
    const work = failing(9, fault('STAGING_MISMATCH')).work;
    await t.rejects(throughStalls(whole, signal, work), { code: 'STAGING_MISMATCH' });
    await t.rejects(throughStalls(other, signal, work), { code: 'STORAGE_REPLACED' });
  });
});

test('noteVerdicts() tells a stall when it is over, and a loss at once', async (t) => {
  const key = Buffer.alloc(32, 1);
  const frames: Buffer[] = [];
  const journal = new FrameWriter({ key, maxBytes: 1e6, write: (frame) => frames.push(frame) });
  const { watch } = watchOf(t, ['stuck', 'good', 'other'], quick);
  noteVerdicts(watch, journal);
  await until('a loss', () => watch.belief.verdict === 'lost');
  journal.flush();
  const notes = streamOf(decode(Buffer.concat(frames), key), 'note')
    .toString()
    .trimEnd()
    .split('\n');
  t.match(notes, [
    /^the volume answers again, and is the same, after \d+\.\d s: a look at it had no answer/,
    /^the volume is lost: the volume is another one/,
  ]);
});
