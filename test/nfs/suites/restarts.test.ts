/** What happens to scripts when something happens to their storage: every scenario, on every kind of server and mount, with
 *  scripts that work on the mount and on a copy, before their start, while they run and while they write. */
import { test } from 'tap';
import { eventually } from '../../harness/eventually.ts';
import { collected } from '../collected.ts';
import type { Collected } from '../collected.ts';
import { Guest } from '../guest.ts';
import { Lane } from '../lane.ts';
import type { LaneKind } from '../lane.ts';
import { Observation } from '../observation.ts';
import { laneNumbers } from '../places.ts';
import { noteRow } from '../scenario-rows.ts';
import { scenarios } from '../scenarios.ts';
import type { Scenario } from '../scenarios.ts';
import { lossOf, trialScripts } from '../trial-scripts.ts';
import type { TrialScript } from '../trial-scripts.ts';

const short = process.env['LONGSHORE_NFS_SHORT'] === '1';
/** Lanes of one guest at once; more than four are more than two emulated processors can take. */
const guests: readonly (readonly LaneKind[])[] = short
  ? [
      [
        { server: 'knfsd', mount: 'chart' },
        { server: 'knfsd', mount: 'v4.1 hard' },
      ],
    ]
  : [
      [
        { server: 'knfsd', mount: 'chart' },
        { server: 'knfsd', mount: 'v4.1 hard' },
      ],
      [
        { server: 'knfsd', mount: 'v3 hard' },
        { server: 'knfsd', mount: 'v3 soft' },
      ],
      [
        { server: 'ganesha', mount: 'chart' },
        { server: 'ganesha', mount: 'v4.1 hard' },
      ],
    ];
/** The longest stall that is believed in, and what the slow guest needs to act on it. */
const VERDICT_DEADLINE_MS = 240_000;
const OUTCOME_DEADLINE_MS = 600_000;

interface Ended extends Collected {
  readonly script: TrialScript;
  readonly seconds: number;
  readonly lacks: string | undefined;
}

/** Has scripts under way in a lane, makes the scenario happen, and collects all that came of it. */
async function attempt(lane: Lane, scenario: Scenario) {
  await lane.open(scenario.volume);
  const scripts = trialScripts(lane);
  for (const { ticket, request } of scripts) await lane.client.start(ticket, request);
  for (const { ticket, moment } of scripts) if (moment !== 'before start') await lane.runsOn(ticket, 'up');
  const observation = await Observation.begin(lane);
  const ends = Promise.all(
    scripts.map(async (script): Promise<Ended> => {
      const seen = await collected(lane.client, script.ticket, AbortSignal.timeout(OUTCOME_DEADLINE_MS));
      const { seconds } = observation;
      const isCalledGood = seen.outcome.code === 'SUCCEEDED';
      return { ...seen, script, seconds, lacks: isCalledGood ? await lossOf(lane, script, seen) : undefined };
    }),
  );
  await scenario.happen(lane);
  const backAt = observation.seconds;
  if (!scenario.keepsData)
    await eventually(() => observation.is('lost'), VERDICT_DEADLINE_MS, 500).catch(() => undefined);
  await lane.run('touch /lanes/{}/go');
  const ended = await ends;
  if (scenario.returns)
    await eventually(() => observation.is('trusted'), VERDICT_DEADLINE_MS, 500).catch(() => undefined);
  return { ended, backAt, observation, answers: await observation.end() };
}

type Attempt = Awaited<ReturnType<typeof attempt>>;

function note(lane: Lane, scenario: Scenario, { ended, observation, answers, backAt }: Attempt): void {
  const answersAt = answers.find(({ at, what }) => at >= backAt && what === 'same')?.at;
  const trustedAt = answersAt === undefined ? undefined : observation.first('trusted', answersAt);
  const trustedSeconds =
    answersAt === undefined || trustedAt === undefined ? undefined : trustedAt - answersAt;
  const verdict = observation.verdicts.map(({ at, what }) => `${what} ${at.toFixed(0)}`).join(', ');
  for (const { script, outcome, seconds } of ended)
    noteRow({
      scenario: scenario.name,
      lane: lane.name,
      storage: script.storage,
      moment: script.moment,
      outcome: outcome.code,
      verdict,
      outcomeSeconds: seconds,
      trustedSeconds,
    });
}

for (const scenario of scenarios.filter((each) => !short || each.short))
  for (const kinds of guests)
    test(`${scenario.name}: ${kinds.map(({ server, mount }) => `${server} ${mount}`).join(', ')}`, async (t) => {
      const guest = await Guest.boot(t, `${scenario.name}-${kinds.map(({ server }) => server).join('-')}`);
      const lanes = kinds.map((kind, index) => new Lane(guest, laneNumbers[index] ?? 1, kind));
      t.teardown(() => lanes.forEach((lane) => lane.close()));
      await Promise.all(
        lanes.map(async (lane) => {
          const tried = await attempt(lane, scenario);
          note(lane, scenario, tried);
          for (const { script, outcome, lacks } of tried.ended) {
            const name = `${lane.name}, ${script.storage}, ${script.moment}: ${outcome.code}`;
            t.equal(lacks, undefined, `${name} is true`);
            if (scenario.keepsData) t.equal(outcome.code, 'SUCCEEDED', `${name}, since nothing was lost`);
            else if (script.storage === 'shared' || script.moment === 'before start')
              t.match(outcome.code, /^STORAGE_/, `${name} says that the storage was lost`);
            else t.equal(outcome.code, 'SUCCEEDED', `${name}, since it has its copy`);
          }
          const lost = tried.observation.first('lost');
          if (scenario.keepsData) t.equal(lost, undefined, `${lane.name} is never called lost`);
          else t.not(lost, undefined, `${lane.name} is called lost`);
          if (scenario.returns) t.ok(tried.observation.is('trusted'), `${lane.name} is trusted again`);
        }),
      );
    });
