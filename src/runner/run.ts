import type { EndRecord } from '../protocol/end-record.ts';
import { Fault } from '../protocol/fault.ts';
import type { RunOrder } from '../protocol/run-order.ts';
import { WorkspaceLayout } from '../protocol/volume-layout.ts';
import { oomKillCount } from './cgroup-memory.ts';
import { takeClaim } from './claim.ts';
import { FrameWriter } from './frame-writer.ts';
import { ownClaim } from './own-claim.ts';
import { writeResult } from './result-file.ts';
import { ScriptCourse, type CourseEnd } from './script-course.ts';
import type { ScriptProcess } from './script-process.ts';
import type { StdoutWitness } from './stdout-witness.ts';
import type { StopRequest } from './stop-request.ts';
import { verifyWorkspace } from './verify.ts';
import type { VolumeFiles } from './volume-files.ts';
import { VolumeJournal } from './volume-journal.ts';

/** What a run has beside its order. */
export interface RunnerHost {
  readonly stdout: StdoutWitness;
  readonly files: VolumeFiles;
  /** The interpreter, waiting for its word. */
  readonly preparing: Promise<ScriptProcess>;
  readonly stop: StopRequest;
  /** Rejects when this program meets an error that nothing catches. */
  readonly crashed: Promise<never>;
  /** Nothing but this script runs in the container of this program. */
  readonly wholeContainer: boolean;
}

/** `silent`: another one has the claim. Otherwise whether the end record was written to stdout. */
export type RunEnd = 'silent' | 'recorded' | 'unrecorded';

/** For the reader of stdout to take the last frames. */
const STDOUT_DEADLINE_MS = 30_000;

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
 * @throws {Fault} STORAGE_ codes, or STAGING_MISMATCH, when the claim could not be taken: then nothing ran and nothing
 * was sealed.
 */
export async function runScript(order: RunOrder, host: RunnerHost): Promise<RunEnd> {
  const { files, stdout } = host;
  const places = new WorkspaceLayout(order.workspace);
  const givenUp = new AbortController();
  const verified = verifyWorkspace(order, { files, signal: givenUp.signal });
  // Told where it is awaited; until then, and when the claim is lost, it is nobody's error.
  verified.catch(() => undefined);
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

  const volume = new VolumeJournal(files, places.journal);
  const write = (frame: Buffer): void => {
    stdout.write(frame);
    volume.append(frame);
  };
  const key = Buffer.from(order.journalKey, 'base64');
  const journal = new FrameWriter({ key, maxBytes: order.journalMaxBytes, write });
  const checked = Promise.all([verified, claim.durable]);
  const course = { order, journal, checked, ...host, stdout: pacedBy(stdout, volume) };
  const end = await new ScriptCourse(course).run();
  givenUp.abort();

  journal.flush();
  const record = endRecord(end, journal, {
    framesNotOnVolume: await volume.settle(),
    oomKills: oomKillsSince(oomKillsBefore),
  });
  const endFrame = journal.sealEnd(record);
  // Where a call hangs already, others would only wait for their deadlines: stdout has everything.
  if (files.overdue === 0) {
    // Allowed to fail: what the record says about the volume's copy stays true, and the reader has the one on stdout.
    await Promise.allSettled([
      volume.end(endFrame),
      writeResult(files, places.result, { endFrame, outcome: record }),
    ]);
  }
  return (await stdout.end(endFrame, STDOUT_DEADLINE_MS)) ? 'recorded' : 'unrecorded';
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

function endRecord(
  end: CourseEnd,
  journal: FrameWriter,
  counts: Pick<EndRecord, 'framesNotOnVolume' | 'oomKills'>,
): EndRecord {
  const { exitCode, signal, stoppedBy, leftBehind, stdoutBytes, stderrBytes } = end;
  return {
    exitCode,
    signal,
    stoppedBy,
    fault: end.error === undefined ? null : faultOf(end.error),
    startedAt: end.startedAt.toISOString(),
    endedAt: end.endedAt.toISOString(),
    lines: journal.lines,
    stdoutBytes,
    stderrBytes,
    journalDigest: journal.journalDigest(),
    linesOverLimit: journal.linesOverLimit,
    leftBehind,
    ...counts,
  };
}

function faultOf(error: unknown): EndRecord['fault'] {
  if (error instanceof Fault) return { code: error.code, says: error.message };
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return { code: 'RUNNER_FAILED', says: `the runner met an error that it does not know: ${text}` };
}

function oomKillsSince(before: number | null): number | null {
  const now = oomKillCount();
  return now === null || before === null ? null : Math.max(0, now - before);
}
