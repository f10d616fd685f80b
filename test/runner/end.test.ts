/** What a runner says of a script that has ended, on a mount that is believed to be this or that. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { test, type Test } from 'tap';
import { parseEndRecord, type EndRecord } from '../../src/protocol/end-record.ts';
import { decodeSegments } from '../../src/protocol/journal-segment.ts';
import { openFrame, parseFrameHead } from '../../src/protocol/journal-frame.ts';
import type { ClaimedRun } from '../../src/runner/claimed-run.ts';
import { proveEnd } from '../../src/runner/end-proof.ts';
import { FrameWriter } from '../../src/runner/frame-writer.ts';
import { tellEnd } from '../../src/runner/run-end.ts';
import type { RunnerHost } from '../../src/runner/runner-host.ts';
import type { CourseEnd } from '../../src/runner/script-course.ts';
import { StopRequest } from '../../src/runner/stop-request.ts';
import { VolumeFiles } from '../../src/runner/volume-files.ts';
import { VolumeJournal } from '../../src/runner/volume-journal.ts';
import { watchOf, type Look } from './made-watch.ts';
import { must, stageScript, until } from './staged-script.ts';

const quick = { probeIntervalMs: 5, absentAgainMs: 1, stallLimitMs: 50 };

interface Scene {
  readonly run: ClaimedRun;
  readonly said: () => EndRecord;
}

/** A shared script that has a claim; `copied` makes it one that works on local disk. */
function scene(t: Test, looks: readonly Look[], copied = false): Scene {
  const staged = stageScript(t, 'true');
  const { places, key, folder } = staged;
  const copy = { folder: `${folder}/copy`, maxBytes: 1e6, collectMs: 10_000 };
  const order = { ...staged.order, copy: copied ? copy : null };
  const claim = { durable: Promise.resolve(), bytes: Buffer.from('claim') };
  writeFileSync(places.started, claim.bytes);
  const files = new VolumeFiles({ deadlineMs: 1000 });
  const { watch: mount } = watchOf(t, looks, quick);
  const volume = new VolumeJournal(files, places.journal);
  const journal = new FrameWriter({ key, maxBytes: 1e6, write: (frame) => volume.append(frame) });
  let last = '';
  const stdout: RunnerHost['stdout'] = {
    ...{ path: '/stdout', isCongested: false },
    write: () => undefined,
    drained: () => Promise.resolve(),
    end: (frame) => Promise.resolve((last = frame.toString('latin1').trimEnd()) !== ''),
  };
  const never = new Promise<never>(() => undefined);
  const host: RunnerHost = {
    ...{ files, stdout, stop: new StopRequest() },
    ...{ preparing: never, crashed: never, wholeContainer: false },
  };
  return {
    run: { order, host, places, claim, journal, volume, mount, oomKillsBefore: null },
    said: () => {
      const frame = must(openFrame(key, must(parseFrameHead(last))));
      return must(parseEndRecord(must(decodeSegments(frame.payload)?.[0]).bytes.toString('utf8')));
    },
  };
}

function endWith(changes: Partial<CourseEnd> = {}): CourseEnd {
  const counts = { leftBehind: 0, stdoutBytes: 0, stderrBytes: 0 };
  const at = new Date();
  return {
    ...counts,
    ...{ exitCode: 0, signal: null, stoppedBy: null, startedAt: at, endedAt: at, error: undefined },
    ...changes,
  };
}

test('proveEnd()', async (t) => {
  t.test('invariant 4: needs a volume and a workspace that are the same', async (t) => {
    t.equal(await proveEnd(scene(t, ['good']).run, endWith()), undefined);
    t.equal(await proveEnd(scene(t, ['stuck', 'eio', 'good']).run, endWith()), undefined, 'after a stall');
  });

  const losses: [Look, string][] = [
    ['other', 'STORAGE_REPLACED'],
    ['gone', 'STORAGE_EMPTIED'],
    ['stuck', 'STORAGE_TIMEOUT'],
    ['eio', 'STORAGE_ERROR'],
  ];
  for (const [look, code] of losses) {
    t.test(`waits for the verdict on a volume that says "${look}", whatever the exit code`, async (t) => {
      t.match(await proveEnd(scene(t, [look]).run, endWith()), { code });
      t.match(await proveEnd(scene(t, [look]).run, endWith({ exitCode: 1 })), { code });
    });
  }

  t.test('makes no success of a script whose workspace is gone', async (t) => {
    const { run } = scene(t, ['good']);
    rmSync(run.places.started);
    t.match(await proveEnd(run, endWith()), { code: 'WORKSPACE_LOST' });
    t.equal(await proveEnd(run, endWith({ exitCode: 1 })), undefined, 'and lets a failure be one');
  });

  t.test('invariant 9: does not wait where somebody wants it to end', async (t) => {
    const { run } = scene(t, ['stuck']);
    const stopped = endWith({ stoppedBy: 'signal', exitCode: null });
    t.equal(await proveEnd(run, stopped), undefined);
    const proving = proveEnd({ ...run, mount: watchOf(t, ['stuck']).watch }, endWith());
    run.host.stop.ask('signal');
    t.match(await proving, { code: /^STORAGE_/ }, 'nor is that a success');
  });
});

test('tellEnd()', async (t) => {
  t.test('writes nothing to a volume that is lost, and says why it is', async (t) => {
    const { run, said } = scene(t, ['other']);
    run.journal.note('a note');
    await until('the loss', () => run.mount.belief.verdict === 'lost' || (run.mount.hint(), false));
    t.equal(await tellEnd(run, endWith({ stoppedBy: 'storage', exitCode: 143 })), 'recorded');
    t.match(said(), { fault: { code: 'STORAGE_REPLACED' }, stoppedBy: null, exitCode: 143 });
    t.match(said().mount, { verdict: 'lost', stalls: 1 });
    t.notOk(existsSync(run.places.result));
  });

  t.test('of a copied script neither fails nor waits for the volume', async (t) => {
    const { run, said } = scene(t, ['stuck'], true);
    mkdirSync(`${must(run.order.copy?.folder ?? undefined)}/out/artifacts`, { recursive: true });
    t.equal(await tellEnd(run, endWith()), 'recorded');
    t.match(said(), { fault: null, exitCode: 0 });
    t.equal(said().notCollected, undefined);
  });
});
