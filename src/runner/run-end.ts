import type { EndRecord, NotCollected } from '../protocol/end-record.ts';
import { Fault } from '../protocol/fault.ts';
import type { CopyOrder } from '../protocol/run-order.ts';
import { oomKillCount } from './cgroup-memory.ts';
import type { ClaimedRun } from './claimed-run.ts';
import { proveEnd } from './end-proof.ts';
import type { FrameWriter } from './frame-writer.ts';
import { writeResult } from './result-file.ts';
import type { CourseEnd } from './script-course.ts';
import { scriptPlaces } from './script-places.ts';

/** `silent`: another one has the claim. Otherwise whether the end record was written to stdout. */
export type RunEnd = 'silent' | 'recorded' | 'unrecorded';

/** For the reader of stdout to take the last frames. */
const STDOUT_DEADLINE_MS = 30_000;

/**
 * Tells how a script went whose processes have all ended: on stdout always, on the volume where that answers.
 *
 *   shared: is the volume still there? ─┬▶ journal to the volume ─▶ end record sealed ─▶ volume ─▶ stdout
 *   copied: artifacts to the volume    ─┘
 *
 * What the volume does not take then changes nothing any more: the record is sealed once, since two of them would
 * contradict each other.
 */
export async function tellEnd(run: ClaimedRun, end: CourseEnd): Promise<RunEnd> {
  const { host, places, journal, volume, mount, order } = run;
  const { files, stdout } = host;
  const fault = order.copy === null ? await proveEnd(run, end) : undefined;
  const notCollected = order.copy === null ? undefined : await collect(run, order.copy);
  journal.flush();
  const isLost = mount.belief.verdict === 'lost';
  const record = endRecord({ ...end, error: end.error ?? fault }, journal, {
    framesNotOnVolume: isLost ? volume.abandon() : await volume.settle(),
    oomKills: oomKillsSince(run.oomKillsBefore),
    ...(notCollected && { notCollected }),
    ...(mount.report && { mount: mount.report }),
  });
  const endFrame = journal.sealEnd(record);
  // Where a call hangs already, others would only wait for their deadlines: stdout has everything.
  if (files.overdue === 0 && !isLost) {
    // Allowed to fail: what the record says about the volume's copy stays true, and the reader has the one on stdout.
    await Promise.allSettled([
      volume.end(endFrame),
      writeResult(files, places.result, { endFrame, outcome: record }),
    ]);
  }
  return (await stdout.end(endFrame, STDOUT_DEADLINE_MS)) ? 'recorded' : 'unrecorded';
}

/** Brings the artifacts of a copied script to the volume, until its time is over or somebody wants it to end. */
async function collect(run: ClaimedRun, copy: CopyOrder): Promise<NotCollected | undefined> {
  const { order, host, places, journal, mount } = run;
  const { collectArtifacts, sayNotCollected } = await import('./artifact-collection.ts');
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), copy.collectMs);
  void host.stop.asked.then(() => over.abort());
  const collection = {
    ...{ files: host.files, maxBytes: copy.maxBytes, signal: over.signal },
    ...{ from: scriptPlaces(order), to: places },
    settled: () => mount.settled(over.signal),
  };
  const notCollected = await collectArtifacts(collection).catch(notFound);
  clearTimeout(timer);
  if (notCollected) journal.note(sayNotCollected(notCollected));
  return notCollected;
}

/** The local disk itself fails: nobody knows how many there are. */
function notFound(error: unknown): NotCollected {
  const says = error instanceof Error ? error.message : String(error);
  return { files: 0, bytes: 0, first: [{ path: '.', bytes: 0, says }] };
}

function endRecord(
  end: CourseEnd,
  journal: FrameWriter,
  counts: Pick<EndRecord, 'framesNotOnVolume' | 'oomKills' | 'notCollected' | 'mount'>,
): EndRecord {
  const { exitCode, signal, stoppedBy, leftBehind, stdoutBytes, stderrBytes } = end;
  return {
    exitCode,
    signal,
    // Of the volume's loss the fault tells.
    stoppedBy: stoppedBy === 'storage' ? null : stoppedBy,
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
