import type { Trouble } from '../executors/executor.ts';
import type { StartedClaim } from '../protocol/run-order.ts';
import type { Outcome } from '../protocol/script-status.ts';
import { endInResult, findEnd, straysIn, type FoundEnd } from './end-search.ts';
import { outcomeFrom, outcomeOf } from './outcome.ts';
import { cookieOf, journalKeyOf, type ScriptRoom } from './script-room.ts';
import type { Asked } from './ticket-record.ts';
import { VolumeWitness } from './volume-witness.ts';

/** What is known when the runner of a script is gone. */
export interface EndedRun {
  readonly claim: StartedClaim & { by: 'runner' };
  readonly cancelled: boolean;
  /** Why the pod ended, where that was not its own doing. */
  readonly trouble?: Trouble | undefined;
}

const MAX_STRAYS = 50;
const MAX_STRAY_CHARACTERS = 2000;
const MAX_RESULT_BYTES = 1024 * 1024;

/**
 * Finds out how a script ended whose runner is gone, from three places that each suffice: the end frame on the
 * runner's stdout, in the journal on the volume, in result.json.
 *
 * Without an authentic record it is never a success (invariant 4), and what is left of its processes is ended first.
 */
export async function settledOutcome(room: ScriptRoom, asked: Asked, run: EndedRun): Promise<Outcome> {
  let end = await findAuthenticEnd(room, asked, run.claim);
  if (end === undefined) {
    await room.executor.clear(asked.key, run.claim, cookieOf(room, asked.key));
    // A runner that was believed to be lost, and lived, writes it while it is ended.
    end = await findAuthenticEnd(room, asked, run.claim);
  }
  await keepStrays(room, asked, run.claim);
  const inPod = room.executor.kind === 'kubernetes';
  const around = { cancelled: run.cancelled, trouble: run.trouble, inPod };
  return end ? outcomeFrom(end.record, around) : lostOutcome(room, asked, run);
}

/** Looks for an authentic end record in all three places; `isLive` where the runner's stdout has it, and all before it. */
export async function findAuthenticEnd(
  room: ScriptRoom,
  asked: Asked,
  claim: StartedClaim,
): Promise<(FoundEnd & { readonly isLive: boolean }) | undefined> {
  const seen = await findLiveEnd(room, asked, claim);
  if (seen) return { ...seen, isLive: true };
  const key = journalKeyOf(room, asked.key);
  const workspace = room.volume.layout.workspace(asked.key);
  const onVolume = await findEnd(new VolumeWitness(room.volume, workspace.journal), key);
  if (onVolume) return { ...onVolume, isLive: false };
  const bytes = await room.volume.read(workspace.result, MAX_RESULT_BYTES);
  const inResult = bytes && endInResult(bytes, key);
  return inResult && { ...inResult, isLive: false };
}

/** Looks for an authentic end record where the volume is not needed. */
export async function findLiveEnd(
  room: ScriptRoom,
  asked: Asked,
  claim: StartedClaim | undefined,
): Promise<FoundEnd | undefined> {
  const live = await room.executor.witness(asked.key, claim);
  try {
    return live && (await findEnd(live, journalKeyOf(room, asked.key)));
  } finally {
    await live?.close();
  }
}

/** Keeps what came out of the runner and is no frame: the last words of a runner that crashed. */
export async function keepStrays(
  room: ScriptRoom,
  asked: Asked,
  claim: StartedClaim | undefined,
): Promise<void> {
  const live = await room.executor.witness(asked.key, claim);
  if (live === undefined) return;
  try {
    for (const { offset, bytes } of await straysIn(live, journalKeyOf(room, asked.key), MAX_STRAYS)) {
      const text = bytes.toString('utf8').slice(0, MAX_STRAY_CHARACTERS);
      await room.lines.add(asked.key, { stream: 'pod', text, mark: `stray-${offset}` });
    }
  } finally {
    await live.close();
  }
}

/** The outcome of a script whose runner is gone without a record. */
export function lostOutcome(
  room: ScriptRoom,
  asked: Asked,
  { claim, cancelled, trouble }: EndedRun,
): Outcome {
  const now = room.now();
  const missing = ['end frame on stdout', 'end frame in out/journal', 'out/result.json'];
  const parts = { startedAt: claim.at, endedAt: now.toISOString(), evidence: { missing, runner: claim.pid } };
  const killed = 'and its runner did not live to write an end record';
  if (cancelled)
    return outcomeOf('SCRIPT_CANCELLED', { ...parts, says: `the script was cancelled, ${killed}` });
  if (trouble && trouble.code !== 'SCRIPT_DEADLINE') {
    const evidence = { ...parts.evidence, pod: trouble.evidence };
    return outcomeOf(trouble.code, { ...parts, evidence, says: trouble.says });
  }
  if (trouble || now.getTime() >= Date.parse(claim.at) + asked.deadlineMs) {
    return outcomeOf('SCRIPT_DEADLINE', { ...parts, says: `the script ran into its deadline, ${killed}` });
  }
  return outcomeOf('RUNNER_LOST', parts);
}
