/** One scenario in one lane, from before it happens until all that came of it is known. */
import { eventually } from '../harness/eventually.ts';
import { collected } from './collected.ts';
import type { Collected } from './collected.ts';
import type { Lane } from './lane.ts';
import { Observation } from './observation.ts';
import type { Seen } from './observation.ts';
import type { Scenario } from './scenarios.ts';
import { lossOf, trialScripts } from './trial-scripts.ts';
import type { TrialScript } from './trial-scripts.ts';

export interface Ended extends Collected {
  readonly script: TrialScript;
  /** Since the beginning of the scenario. */
  readonly seconds: number;
  /** What is missing of a script that is called successful. */
  readonly lacks: string | undefined;
}

export interface Trial {
  readonly ended: readonly Ended[];
  readonly verdicts: readonly Seen[];
  /** How the mount answered a process of its own, as it changed. */
  readonly answers: readonly Seen[];
  readonly slowestAnswerMs: number;
  /** From the first answer that proves the loss to the verdict. */
  readonly lostAfterProof: number | undefined;
  /** From the first answer of a mount that works, after it happened, to the verdict. */
  readonly trustedAfterAnswer: number | undefined;
  /** The mount could not come back, and the agent got a new one, as its pod would. */
  readonly remounted: boolean;
  /** Code of a script that was started at the end. */
  readonly afterwards: string | undefined;
}

/** The longest stall that is believed in, and what a slow guest needs to act on it. */
const VERDICT_DEADLINE_MS = 240_000;
const OUTCOME_DEADLINE_MS = 900_000;
/** A mount whose server is another one now never answers well again. */
const RETURN_DEADLINE_MS = 120_000;
const LOOK_EVERY_MS = 500;

/** Has scripts under way in a lane, makes the scenario happen, and collects all that came of it. */
export async function attempt(lane: Lane, scenario: Scenario): Promise<Trial> {
  await lane.open(scenario.volume);
  const scripts = trialScripts(lane);
  for (const { ticket, request } of scripts) await lane.client.start(ticket, request);
  for (const { ticket, moment } of scripts) if (moment !== 'before start') await lane.runsOn(ticket, 'up');
  const observation = await Observation.begin(lane);
  const ends = Promise.all(scripts.map((script) => endOf(lane, script, observation)));
  await scenario.happen(lane);
  const backAt = observation.seconds;
  if (!scenario.keepsData) await reaches(observation, 'lost', VERDICT_DEADLINE_MS);
  await lane.run('touch /lanes/{}/go');
  const ended = await ends;
  const remounted = scenario.returns && !(await reaches(observation, 'trusted', RETURN_DEADLINE_MS));
  if (remounted) await lane.replaceAgent();
  const afterwards = scenario.returns ? await codeAfterwards(lane) : undefined;
  const answers = await observation.end();
  return {
    ended,
    verdicts: observation.verdicts,
    answers,
    slowestAnswerMs: Math.max(...observation.answerMs),
    ...secondsOf(observation, answers, backAt),
    remounted,
    afterwards,
  };
}

async function endOf(lane: Lane, script: TrialScript, observation: Observation): Promise<Ended> {
  const seen = await collected(lane.client, script.ticket, AbortSignal.timeout(OUTCOME_DEADLINE_MS));
  const { seconds } = observation;
  const lacks = seen.outcome.code === 'SUCCEEDED' ? await lossOf(lane, script, seen) : undefined;
  return { ...seen, script, seconds, lacks };
}

async function reaches(observation: Observation, verdict: string, deadlineMs: number): Promise<boolean> {
  try {
    await eventually(() => observation.is(verdict), deadlineMs, LOOK_EVERY_MS);
    return true;
  } catch {
    // That it is not reached is what the caller asks for.
    return false;
  }
}

/** Work goes on by itself: what a server starts now runs as if nothing had been. */
async function codeAfterwards(lane: Lane): Promise<string> {
  await lane.client.start('afterwards', { language: 'bash', body: 'echo afterwards >left; cat left' });
  const { outcome } = await collected(lane.client, 'afterwards', AbortSignal.timeout(OUTCOME_DEADLINE_MS));
  return outcome.code;
}

/** What a mount answers when its data is gone for sure, and what one answers that works. */
const proofs = ['absent', 'other', 'stale'];
const working = ['same', 'absent', 'other'];

function secondsOf(
  observation: Observation,
  answers: readonly Seen[],
  backAt: number,
): Pick<Trial, 'lostAfterProof' | 'trustedAfterAnswer'> {
  const between = (from: number | undefined, to: number | undefined): number | undefined =>
    from === undefined || to === undefined ? undefined : to - from;
  const lost = observation.first('lost');
  const proof = answers.find(({ what }) => proofs.includes(what))?.at;
  const good = answers.find(({ at, what }) => at >= backAt && working.includes(what))?.at;
  return {
    lostAfterProof: between(proof, lost),
    trustedAfterAnswer: good === undefined ? undefined : between(good, observation.first('trusted', good)),
  };
}
