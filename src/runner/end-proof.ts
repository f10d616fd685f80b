import { Fault } from '../protocol/fault.ts';
import { isClaimThere } from './claim.ts';
import type { ClaimedRun } from './claimed-run.ts';
import { faultOfMount } from './mount-watch.ts';
import type { CourseEnd } from './script-course.ts';
import { throughStalls } from './through-stalls.ts';

/**
 * Finds out whether the volume that a shared script worked on is still there now that all its processes have ended.
 *
 * Undefined where it is: the epoch was read after the end, by its path, and so was our claim in the workspace. What a
 * process of the script wrote was sent to the server when it closed it, at its end at the latest; so what was taken then
 * is on the volume that is there now. Where it does not answer, it is waited for until it is trusted or lost.
 *
 * A script that failed by itself is asked the same, since a volume that goes away is why scripts fail.
 */
export async function proveEnd(run: ClaimedRun, end: CourseEnd): Promise<Fault | undefined> {
  const { mount, host } = run;
  if (end.stoppedBy === 'storage') return faultOfMount(await mount.lost);
  // Nothing ran, or somebody wanted it to end: neither is a success, and neither waits.
  if (end.error !== undefined || end.stoppedBy !== null) return undefined;
  const unwanted = new AbortController();
  void host.stop.asked.then(() => unwanted.abort());
  const belief = await mount.settled(unwanted.signal);
  if (belief.verdict === 'lost') return faultOfMount(belief);
  const isSuccess = end.exitCode === 0;
  if (belief.verdict === 'stalled') return isSuccess ? faultOfMount(belief) : undefined;
  const fault = await missingWorkspace(run, unwanted.signal);
  // A script that failed may have removed its own workspace, too.
  return isSuccess || mount.belief.verdict === 'lost' ? fault : undefined;
}

async function missingWorkspace(run: ClaimedRun, signal: AbortSignal): Promise<Fault | undefined> {
  const { mount, host, places, claim } = run;
  try {
    const isThere = await throughStalls(mount, signal, () =>
      isClaimThere(host.files, places.started, claim.bytes),
    );
    if (isThere) return undefined;
    const says = `${places.started} does not hold the claim of this run any more`;
    return new Fault('WORKSPACE_LOST', `nobody knows what became of what the script wrote: ${says}`);
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
}
