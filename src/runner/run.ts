import type { RunOrder } from '../protocol/run-order.ts';
import { WorkspaceLayout } from '../protocol/volume-layout.ts';
import { oomKillCount } from './cgroup-memory.ts';
import { takeClaim } from './claim.ts';
import { FrameWriter } from './frame-writer.ts';
import { LocalCopy } from './local-copy.ts';
import { MountProbe } from './mount-probe.ts';
import { faultOfMount, MountWatch } from './mount-watch.ts';
import { noteVerdicts } from './mount-notes.ts';
import { ownClaim } from './own-claim.ts';
import { tellEnd, type RunEnd } from './run-end.ts';
import type { RunnerHost } from './runner-host.ts';
import { ScriptCourse } from './script-course.ts';
import { scriptPlaces } from './script-places.ts';
import type { StdoutWitness } from './stdout-witness.ts';
import { throughStalls } from './through-stalls.ts';
import { verifyWorkspace } from './verify.ts';
import type { VolumeFiles } from './volume-files.ts';
import { VolumeJournal } from './volume-journal.ts';
import { within } from './within.ts';

/** For the verification of a script that never began to notice that nobody waits for it. */
const LAST_READ_MS = 1000;

/**
 * The way of one script through a runner.
 *
 *   order ─▶ claim ─▶ verify ─▶ begin ─▶ output ─▶ all processes dead ─▶ end record ─▶ leave
 *              │lost     │mismatch, storage │                                ▲
 *              ▼         └─── fault ────────┴─ TERM, deadline, own error ────┘
 *            silent
 *
 * From the claim on there is an end record, whatever happens: on stdout always, on the volume where that answers.
 * Starting the interpreter and reading for the verification go on beside the claim; nothing of the script runs before
 * all three are done.
 *
 * The mount is watched all the time. A stall is waited out, before the script and at its end; a loss ends whatever
 * depends on the volume, which a script that has begun on local disk does not.
 *
 * @throws {Fault} STORAGE_ codes, or STAGING_MISMATCH, when the claim could not be taken: then nothing ran and nothing
 * was sealed.
 */
export async function runScript(order: RunOrder, host: RunnerHost): Promise<RunEnd> {
  const givenUp = new AbortController();
  const { signal } = givenUp;
  // What must come before the script waits as long as a volume may stall.
  const files = host.files.withDeadline(order.mount.stallLimitMs);
  const probe = new MountProbe(order, host.files);
  const mount = new MountWatch(probe, { limits: order.mount, epoch: order.epoch });
  const copy = order.copy ? new LocalCopy(scriptPlaces(order), order.copy.maxBytes) : undefined;
  const verified = throughStalls(mount, signal, () => verifyWorkspace(order, { files, signal, copy }));
  // Told where it is awaited; until then, and when the claim is lost, it is nobody's error.
  verified.catch(() => undefined);
  try {
    return await claimAndRun(order, host, { files, mount, verified, givenUp });
  } finally {
    givenUp.abort();
    mount.stop();
    if (copy !== undefined) await removeCopy(order, verified);
  }
}

interface Checking {
  readonly files: VolumeFiles;
  readonly mount: MountWatch;
  readonly verified: Promise<void>;
  /** Nobody waits for the verification any more. */
  readonly givenUp: AbortController;
}

async function claimAndRun(order: RunOrder, host: RunnerHost, checking: Checking): Promise<RunEnd> {
  const { stdout } = host;
  const { files, mount, verified, givenUp } = checking;
  const places = new WorkspaceLayout(order.workspace);
  const oomKillsBefore = oomKillCount();
  const claim = await takeClaim(files, places.started, ownClaim(stdout.path)).catch(
    async (error: unknown) => {
      givenUp.abort();
      // What the verification found tells more: on a volume that was emptied, a kubelet makes the folders that it mounts,
      // and all that the claim meets is a folder of root.
      await verified;
      throw error;
    },
  );
  if (claim === undefined) return 'silent';

  const volume = new VolumeJournal(host.files, places.journal, { failed: () => mount.hint() });
  const write = (frame: Buffer): void => {
    stdout.write(frame);
    volume.append(frame);
  };
  const key = Buffer.from(order.journalKey, 'base64');
  const journal = new FrameWriter({ key, maxBytes: order.journalMaxBytes, write });
  noteVerdicts(mount, journal);
  const lost = mount.lost.then((belief) => Promise.reject(faultOfMount(belief)));
  const checked = Promise.race([Promise.all([verified, claim.durable]), lost]);
  // A script that has begun on local disk needs the volume no more.
  if (order.copy === null) lost.catch(() => host.stop.ask('storage'));
  const course = { order, journal, checked, ...host, stdout: pacedBy(stdout, volume) };
  const end = await new ScriptCourse(course).run();
  givenUp.abort();
  return tellEnd({ order, host, places, claim, journal, volume, mount, oomKillsBefore }, end);
}

/** Also of a script that never ran. What cannot be removed is left to whoever gave the folder. */
async function removeCopy({ copy }: RunOrder, verified: Promise<void>): Promise<void> {
  // Nothing more is copied once it has ended. Where a read hangs, the executor removes what is left.
  await within(
    verified.catch(() => undefined),
    LAST_READ_MS,
  );
  const { removeLocalTree } = await import('./local-removal.ts');
  if (copy?.folder) await removeLocalTree(copy.folder).catch(() => undefined);
}

/** A log of a pod is rotated, and what it loses the volume must have: then the slower of the two sets the pace. */
function pacedBy(stdout: StdoutWitness, volume: VolumeJournal): StdoutWitness {
  // What is written into a file stays there.
  if (stdout.path !== null) return stdout;
  return {
    path: null,
    get isCongested(): boolean {
      return stdout.isCongested || volume.isCongested;
    },
    write: (frame) => stdout.write(frame),
    drained: async () => {
      await Promise.all([stdout.drained(), volume.drained()]);
    },
    end: (frame, deadlineMs) => stdout.end(frame, deadlineMs),
  };
}
