import type { ScriptRoom } from './script-room.ts';
import type { Asked } from './ticket-record.ts';

/** A runner that was told to stop gets this much more than the grace of its script. */
const STOP_MARGIN_MS = 5000;
/**
 * That of a pod: its kubelet ends it by force some seconds after the grace, and no deletion is quicker than the kubelet
 * hears of it. After an outage of the API server it may hear nothing for a minute and more.
 */
const POD_STOP_MARGIN_MS = 120_000;

/** How long a runner that was told to stop may take, and when one that nobody stopped must be over, in ms. */
export function stopTimesFor(
  { executor, limits }: ScriptRoom,
  { graceMs, deadlineMs }: Asked,
  claimedAt: string,
): { readonly stopMs: number; readonly lastMs: number } {
  const marginMs = executor.kind === 'kubernetes' ? POD_STOP_MARGIN_MS : STOP_MARGIN_MS;
  const stopMs = graceMs + limits.drainMs + marginMs;
  return { stopMs, lastMs: Date.parse(claimedAt) + deadlineMs + stopMs + STOP_MARGIN_MS };
}
