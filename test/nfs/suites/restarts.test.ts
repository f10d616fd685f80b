/** What happens to scripts when something happens to their storage: every scenario, on every kind of server and mount, with
 *  scripts that work on the mount and on a copy, before their start, while they run and while they write. */
import { test } from 'tap';
import type { Test } from 'tap';
import { Guest } from '../guest.ts';
import { Lane } from '../lane.ts';
import type { LaneKind } from '../lane.ts';
import { laneNumbers } from '../places.ts';
import { noteRows } from '../scenario-rows.ts';
import { scenarios } from '../scenarios.ts';
import type { Scenario } from '../scenarios.ts';
import { attempt } from '../trial.ts';
import type { Ended, Trial } from '../trial.ts';

const { LONGSHORE_NFS_SHORT: isShort, LONGSHORE_NFS_ONLY: only = '' } = process.env;
const short = isShort === '1';
const kernelV4: readonly LaneKind[] = [
  { server: 'knfsd', mount: 'chart' },
  { server: 'knfsd', mount: 'v4.1 hard' },
];
const kernelV3: readonly LaneKind[] = [
  { server: 'knfsd', mount: 'v3 hard' },
  { server: 'knfsd', mount: 'v3 soft' },
];
const ganesha: readonly LaneKind[] = [
  { server: 'ganesha', mount: 'chart' },
  { server: 'ganesha', mount: 'v4.1 hard' },
];
/** The lanes of one guest at once; more are more than two emulated processors can take. */
const guests = short ? [kernelV4] : [kernelV4, kernelV3, ganesha];

for (const scenario of scenarios.filter((each) => !short || each.short))
  for (const kinds of guests) {
    const name = `${scenario.name} (${kinds.map(({ server, mount }) => `${server} ${mount}`).join(' and ')})`;
    if (!name.includes(only)) continue;
    test(`storage that is ${name}`, async (t) => {
      const guest = await Guest.boot(t, name.replaceAll(/[^\w.]+/g, '-'));
      const lanes = kinds.map((kind, index) => new Lane(guest, laneNumbers[index] ?? 1, kind));
      t.teardown(() => lanes.forEach((lane) => lane.close()));
      await Promise.all(
        lanes.map(async (lane) => {
          const trial = await attempt(lane, scenario);
          noteRows(lane.name, scenario.name, trial);
          await t.test(lane.name, async (t) => expectTruth(t, scenario, trial));
        }),
      );
    });
  }

function expectTruth(t: Test, scenario: Scenario, trial: Trial): void {
  for (const ended of trial.ended) expectEnd(t, scenario, ended);
  const has = (verdict: string): boolean => trial.verdicts.some(({ what }) => what === verdict);
  t.equal(has('lost'), !scenario.keepsData, 'the storage is called lost exactly where data was lost');
  t.notOk(has('silent'), 'the agent answers all the time (invariant 7)');
  if (scenario.keepsData) t.notOk(trial.remounted, 'the agent trusts its mount again by itself');
  if (scenario.returns) t.equal(trial.afterwards, 'SUCCEEDED', 'work goes on (invariant 8)');
}

function expectEnd(t: Test, scenario: Scenario, { script, outcome, lacks, said }: Ended): void {
  const name = `${script.storage}, ${script.moment}`;
  const seen = { outcome, said };
  t.equal(lacks, undefined, `${name}: nothing is missing of what is called successful (invariant 4)`, seen);
  const survives = script.storage === 'copied' && script.moment !== 'before start';
  // A soft mount gives up, and a server that has not exported again yet refuses: then the script itself was told.
  const wasTold =
    script.storage === 'shared' && script.moment === 'while writing output' && outcome.exitCode === 9;
  if (scenario.keepsData && wasTold)
    t.equal(outcome.code, 'SCRIPT_FAILED', `${name}: its own write failed`, seen);
  else if (scenario.keepsData) t.equal(outcome.code, 'SUCCEEDED', `${name}: nothing was lost`, seen);
  else if (survives) t.equal(outcome.code, 'SUCCEEDED', `${name}: it has its copy`, seen);
  else t.match(outcome.code, /^STORAGE_/, `${name}: the storage was lost`, seen);
}
