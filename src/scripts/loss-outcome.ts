import type { Belief } from '../protocol/mount-belief.ts';
import type { StartedClaim } from '../protocol/run-order.ts';
import type { Outcome } from '../protocol/script-status.ts';
import type { FoundEnd } from './end-search.ts';
import { outcomeFrom, outcomeOf } from './outcome.ts';
import { cookieOf, type ScriptRoom } from './script-room.ts';
import { findLiveEnd } from './settle.ts';
import type { Asked } from './ticket-record.ts';
import { Wakeup } from './wakeup.ts';

/** What is known of a script when its volume is lost. */
export interface LostRun {
  readonly claim: StartedClaim | undefined;
  readonly cancelled: boolean;
  readonly closed: AbortSignal;
  /** The loss, as it was believed when the script was given up: while it is ended, the mount may be trusted again. */
  readonly loss: Belief;
}

/** For the runner's own end behind the grace of its script. */
const STOP_MS = 5000;
const POLL_MS = 100;

/**
 * Ends what still runs of a script whose volume is lost, and says how it ended; asks nothing of the volume.
 *
 * A record of the runner that says that the script ended by itself stands: the runner has looked at the volume after
 * the script had ended. Whatever else there is, the outcome names the loss.
 */
export async function lossOutcome(room: ScriptRoom, asked: Asked, run: LostRun): Promise<Outcome> {
  const { end, left } = await stopped(room, asked, run);
  const record = end?.record;
  if (record && (record.fault !== null || record.stoppedBy === null)) {
    const inPod = room.executor.kind === 'kubernetes';
    return outcomeFrom(record, { cancelled: run.cancelled, trouble: undefined, inPod });
  }
  const { code, says, evidence, rule } = run.loss;
  const parts = {
    exitCode: record?.exitCode ?? null,
    signal: record?.signal ?? null,
    startedAt: run.claim?.at ?? null,
    endedAt: room.now().toISOString(),
    evidence: { mount: { rule, says, evidence }, ...(left !== undefined && { left }) },
  };
  if (run.cancelled) return outcomeOf('SCRIPT_CANCELLED', parts);
  return outcomeOf(code ?? 'STORAGE_ERROR', { ...parts, says });
}

async function stopped(
  room: ScriptRoom,
  asked: Asked,
  { claim, closed }: LostRun,
): Promise<{ end: FoundEnd | undefined; left?: string }> {
  const { executor } = room;
  const { key } = asked;
  let end = await findLiveEnd(room, asked, claim);
  if (end) return { end };
  try {
    await executor.stop(key, claim);
    const until = room.now().getTime() + asked.graceMs + STOP_MS;
    while (end === undefined && room.now().getTime() < until && !closed.aborted) {
      const { presence } = await executor.look(key, claim);
      end = await findLiveEnd(room, asked, claim);
      if (presence !== 'alive') break;
      if (end === undefined) await new Wakeup().sleep(POLL_MS, closed);
    }
    if (end === undefined) await executor.clear(key, claim, cookieOf(room, key));
    return { end };
  } catch (error) {
    // A process in a call that never returns stays where it is; the script is over for whoever asked for it.
    room.observe({ type: 'trouble', key, step: 'stop', error });
    await executor.abandon(key).catch((failed: unknown) => {
      room.observe({ type: 'trouble', key, step: 'abandon', error: failed });
    });
    return { end, left: error instanceof Error ? error.message : String(error) };
  }
}
