/** A runner as a process of its own on a volume that really hangs, fails, is emptied and replaced, and comes back. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test, type Test } from 'tap';
import type { EndRecord } from '../../src/protocol/end-record.ts';
import type { CopyOrder } from '../../src/protocol/run-order.ts';
import { VolumeLayout } from '../../src/protocol/volume-layout.ts';
import { FaultyMount, missingForFaults } from '../faults/faulty-mount.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';
import {
  decodeFile,
  must,
  processesWith,
  stageScriptIn,
  startRunner,
  streamOf,
  until,
  type Decoded,
  type StagedScript,
} from './staged-script.ts';

const skip = missingForFaults() ?? false;

/** Long enough for a machine that is busy to answer, and short enough to wait for. */
const mount = {
  probeIntervalMs: 300,
  probeDeadlineMs: 1500,
  absentAgainMs: 500,
  staleAfterMs: 60_000,
  stallLimitMs: 6000,
};

type Storage = 'shared' | 'copied';

interface Ground {
  readonly volume: FaultyMount;
  readonly staged: StagedScript;
  /** On local disk, for what test and script tell each other. */
  readonly folder: string;
}

interface Ended {
  readonly end: EndRecord;
  readonly stdout: Decoded;
  readonly notes: string;
}

/** One command, so that bash has read all of it before it runs: up, wait for `go`, `then`. */
function waits(then: string): string {
  return `{ trap 'exit 9' TERM; echo up; until [ -e "$1/go" ]; do sleep 0.05; done; ${then}; exit 0; }\n`;
}

async function ground(t: Test, storage: Storage, script: string): Promise<Ground> {
  const folder = temporaryFolder(t, 'longshore-runner');
  const volume = await FaultyMount.start(t, folder);
  const copy: CopyOrder = { folder: `${folder}/run/copy`, maxBytes: 2 ** 30, collectMs: 60_000 };
  const staged = stageScriptIn(
    volume.volume,
    script,
    {
      ...{ mount, arguments: [folder], graceMs: 2000, volumeDeadlineMs: 2000 },
      copy: storage === 'copied' ? copy : null,
    },
    { 'files/one': 'staged' },
  );
  return { volume, staged: { ...staged, folder }, folder };
}

/** Starts it, does `meanwhile` once the script is up (or at once), and returns what is on the runner's stdout then. */
async function run(t: Test, one: Ground, meanwhile: () => Promise<void>, when = 'up'): Promise<Ended> {
  const { staged } = one;
  const runner = startRunner(staged);
  const isUp = (): boolean => streamOf(decodeFile(runner.stdoutFile, staged.key), 'stdout').includes('up\n');
  if (when === 'up') await until('the script is up', isUp);
  await meanwhile();
  await runner.ended;
  const stdout = decodeFile(runner.stdoutFile, staged.key);
  if (stdout.end === undefined) throw new Error(`no end record: ${stdout.strays.join('\n')}`);
  t.same(processesWith(staged.order.cookie), [], 'no process of the script is left');
  return { end: stdout.end, stdout, notes: streamOf(stdout, 'note').toString() };
}

function go({ folder }: Ground): void {
  writeFileSync(`${folder}/go`, '');
}

/** Another volume of Longshore, with an epoch of its own. */
function otherVolume(folder: string): string {
  const layout = new VolumeLayout(`${folder}/other`);
  mkdirSync(layout.identity, { recursive: true });
  writeFileSync(layout.epoch, 'epoch-2\n');
  return layout.mountFolder;
}

/** What takes the volume away for good, and how a script that works on it ends. */
const losses: Record<string, [code: string, lose: (one: Ground) => Promise<void>]> = {
  'that hangs': ['STORAGE_TIMEOUT', ({ volume }) => volume.fault({ kind: 'hang' })],
  'that fails with EIO': ['STORAGE_ERROR', ({ volume }) => volume.fault({ kind: 'errno', errno: 'EIO' })],
  'that is stale': ['STORAGE_STALE', ({ volume }) => volume.fault({ kind: 'errno', errno: 'ESTALE' })],
  'that was emptied': ['STORAGE_EMPTIED', ({ volume }) => volume.empty()],
  'that was replaced': ['STORAGE_REPLACED', ({ volume, folder }) => volume.replaceBy(otherVolume(folder))],
};

for (const [what, [code, lose]] of Object.entries(losses)) {
  test(`invariant 8: a volume ${what}`, { skip }, async (t) => {
    t.test('ends a shared script that runs, with its process tree, and the end says why', async (t) => {
      const one = await ground(t, 'shared', waits('true'));
      const { end, notes } = await run(t, one, () => lose(one));
      t.match(end, { fault: { code }, stoppedBy: null });
      // That of its TERM handler, unless its end hangs too.
      t.ok([9, null].includes(end.exitCode), String(end.exitCode));
      t.match(end.mount, { verdict: 'lost' });
      t.match(notes, /the volume is lost: .*\n.*cannot go on without its volume: TERM/);
    });

    t.test('invariant 4: makes no success of a shared script that ends by itself', async (t) => {
      const one = await ground(t, 'shared', waits('echo done'));
      const { end } = await run(t, one, async () => {
        await lose(one);
        go(one);
      });
      t.match(end, { fault: { code }, exitCode: 0 });
    });

    t.test('does not fail a copied script; what was not collected is told', async (t) => {
      const leaves = 'cat one; echo more > "$LONGSHORE_ARTIFACTS/a"';
      const one = await ground(t, 'copied', waits(leaves));
      const { end, stdout, notes } = await run(t, one, async () => {
        await lose(one);
        go(one);
      });
      t.match(end, { fault: null, exitCode: 0, stoppedBy: null });
      t.equal(streamOf(stdout, 'stdout').toString(), 'up\nstaged', 'it has its files');
      t.match(end.notCollected, { files: 1, bytes: 5, first: [{ path: 'a', bytes: 5, says: /STORAGE_/ }] });
      t.match(notes, /1 artifact of 5 bytes did not get to the volume: a \(5 bytes: STORAGE_/);
      t.notOk(existsSync(must(one.staged.order.copy?.folder ?? undefined)), 'the copy is removed');
    });
  });
}

test(
  'a process in a call that takes no KILL does not keep back what is said of the end',
  { skip },
  async (t) => {
    const one = await ground(t, 'shared', waits('true'));
    const { staged, volume } = one;
    const runner = startRunner(staged);
    const said = (): Decoded => decodeFile(runner.stdoutFile, staged.key);
    await until('the script is up', () => streamOf(said(), 'stdout').includes('up\n'));
    // Its end closes files of the volume, and nobody answers, nor takes the interruption; so may that of the runner.
    volume.freeze();
    await until('the end is said', () => said().end !== undefined);
    t.match(said().end, { fault: { code: 'STORAGE_TIMEOUT' }, exitCode: null, signal: null });
    t.match(streamOf(said(), 'note').toString(), /[12] process(es)? of the script did not end by KILL: \d+/);
    t.equal(processesWith(staged.order.cookie).length, 1);
    volume.thaw();
    await runner.ended;
    await until('its end', () => processesWith(staged.order.cookie).length === 0);
  },
);

test('invariant 8: a stall fails nothing, and the journal says how long it was', { skip }, async (t) => {
  for (const storage of ['shared', 'copied'] as const) {
    t.test(`while a ${storage} script runs`, async (t) => {
      const one = await ground(t, storage, waits('cat one; echo more > "$LONGSHORE_ARTIFACTS/a"'));
      const { end, stdout, notes } = await run(t, one, async () => {
        await one.volume.fault({ kind: 'hang' });
        await one.volume.held(({ operation }) => operation === 'statfs');
        await missedProbe(mount.probeDeadlineMs);
        await one.volume.heal();
        await until('the end of the stall', () => isNoted(one, /answers again/));
        go(one);
      });
      t.match(end, { fault: null, exitCode: 0, mount: { verdict: 'trusted', stalls: 1 } });
      t.equal(end.notCollected, undefined);
      t.match(notes, /the volume answers again, and is the same, after \d+\.\d s: /);
      t.equal(streamOf(stdout, 'stdout').toString(), 'up\nstaged');
      t.equal(readFileSync(`${one.staged.places.artifacts}/a`, 'utf8'), 'more\n');
    });

    t.test(`while a ${storage} script ends`, async (t) => {
      const one = await ground(t, storage, waits('true'));
      writeFileSync(`${one.staged.places.artifacts}/there`, '');
      const { end } = await run(t, one, async () => {
        await one.volume.fault({ kind: 'hang' });
        go(one);
        await one.volume.held(({ operation }) => operation === 'statfs');
        await one.volume.heal();
      });
      t.match(end, { fault: null, exitCode: 0 });
    });

    t.test(`before a ${storage} script starts`, async (t) => {
      const one = await ground(t, storage, '{ cat one; exit 0; }');
      await one.volume.fault({ kind: 'hang', operations: ['open', 'read'] });
      const meanwhile = async (): Promise<void> => {
        await one.volume.held(({ path }) => path.includes('manifest') || path.includes('epoch'));
        await one.volume.heal();
      };
      const { end, stdout } = await run(t, one, meanwhile, 'at once');
      t.match(end, { fault: null, exitCode: 0 });
      t.equal(streamOf(stdout, 'stdout').toString(), 'staged');
    });
  }
});

test('a volume that stays away before the script starts ends it without a run', { skip }, async (t) => {
  for (const storage of ['shared', 'copied'] as const) {
    t.test(storage, async (t) => {
      const one = await ground(t, storage, '{ touch "$1/ran"; exit 0; }');
      // The claim is made, and then nothing of it can be read.
      await one.volume.fault({ kind: 'hang', operations: ['read', 'statfs'] });
      const { end } = await run(t, one, async () => undefined, 'at once');
      t.match(end, { fault: { code: 'STORAGE_TIMEOUT' }, exitCode: null });
      t.notOk(existsSync(`${one.folder}/ran`));
    });
  }
});

function isNoted({ folder, staged }: Ground, words: RegExp): boolean {
  const [stdout] = stdoutFilesIn(folder);
  return stdout !== undefined && words.test(streamOf(decodeFile(stdout, staged.key), 'note').toString());
}

function stdoutFilesIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.startsWith('stdout-'))
    .map((name) => `${folder}/${name}`);
}

/** A look that has begun is missed at its deadline, which nobody tells but the clock. */
function missedProbe(deadlineMs: number): Promise<void> {
  const from = performance.now();
  return until('a probe was missed', () => performance.now() - from > 1.5 * deadlineMs).then(() => undefined);
}
