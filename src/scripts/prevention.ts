import type { StartedClaim } from '../protocol/run-order.ts';
import type { Outcome } from '../protocol/script-status.ts';
import type { Refusal } from './launch-trial.ts';
import { outcomeOf, preventedOutcome } from './outcome.ts';
import { cookieOf, type ScriptRoom } from './script-room.ts';
import { claimForAgent } from './started-claim.ts';
import type { Asked } from './ticket-record.ts';

/** Takes the claim, so that no runner can run the script; where one has it already, it keeps it. */
export async function prevent(room: ScriptRoom, { key }: Asked, refusal: Refusal): Promise<void> {
  const { code, says, evidence } = refusal;
  const known = { ...(says !== undefined && { says }), ...(evidence && { evidence }) };
  await claimForAgent(room.volume, key, { reason: code, at: room.now().toISOString(), ...known });
}

/** Takes away what was launched of a script that an agent kept from running, and says how it ended. */
export async function endPrevented(
  room: ScriptRoom,
  { key }: Asked,
  claim: StartedClaim & { by: 'agent' },
): Promise<Outcome> {
  await room.executor.stop(key, undefined).catch((error: unknown) => {
    // What was launched can run nothing any more; it goes when the script is completed.
    room.observe({ type: 'trouble', key, step: 'stop', error });
  });
  return preventedOutcome(claim, room.now());
}

/** Ends a script whose claim stays unreadable, and says so. @throws {Fault} RUNNER_FAILED, CLUSTER_ codes. */
export async function endUnreadable(room: ScriptRoom, { key }: Asked): Promise<Outcome> {
  await room.executor.clear(key, undefined, cookieOf(room, key));
  const evidence = { claim: 'out/started is there and is not whole: its writer was killed in the middle' };
  return outcomeOf('RUNNER_LOST', { endedAt: room.now().toISOString(), evidence });
}
