import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VolumeLayout } from '../../src/protocol/volume-layout.ts';
import { believes, followed, running } from '../faults/agent-on-faults.ts';
import { FaultyMount } from '../faults/faulty-mount.ts';
import { AgentProcess } from '../harness/agent-process.ts';
import { median, quantile, type BenchResult } from './bench-result.ts';

const ROUNDS = 5;
const REQUESTS = 2000;
const NOTICED_GOAL_S = 8;
const VERDICT_GOAL_S = 5;
const TRUSTED_GOAL_S = 20;
const P99_GOAL_MS = 50;
/** The default of `stallLimitMs`, and the default grace period of the script that is ended then. */
const LIMIT_GOAL_S = 100;

interface Scene {
  readonly agent: AgentProcess;
  readonly mount: FaultyMount;
  readonly folder: string;
}

/** An agent with default settings on a volume with faults, both gone afterwards. */
async function withScene<T>(work: (scene: Scene) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'longshore-bench-'));
  const ends: (() => Promise<void>)[] = [];
  try {
    const mount = await FaultyMount.start({ teardown: (end) => ends.push(end) }, folder);
    const agent = new AgentProcess({ volume: mount.volume, state: join(folder, 'state') });
    ends.push(() => agent.kill());
    await agent.ready();
    ends.push(() => mount.heal());
    return await work({ agent, mount, folder });
  } finally {
    for (const end of ends.toReversed()) await end();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function seconds(work: Promise<unknown>): Promise<number> {
  const from = performance.now();
  await work;
  return (performance.now() - from) / 1000;
}

/** Rounds of a hang that ends: until it is noticed, and until the agent is well again. */
async function stalls({ agent, mount }: Scene): Promise<{ noticed: number[]; back: number[] }> {
  const [noticed, back]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    await mount.fault({ kind: 'hang' });
    noticed.push(await seconds(believes(agent, 'stalled')));
    await mount.heal();
    back.push(await seconds(believes(agent, 'trusted')));
  }
  return { noticed, back };
}

/** How long requests take that need no volume, while every call on it hangs. */
async function answersMs({ agent, mount }: Scene): Promise<{ took: number[]; hungAt: number }> {
  await running(agent, 'told', 'sleep 3600');
  await mount.fault({ kind: 'hang' });
  const hungAt = performance.now();
  await believes(agent, 'stalled');
  const paths = ['/livez', '/readyz', '/v1/mount', '/v1/capabilities', '/v1/scripts/told'];
  const took: number[] = [];
  for (let index = 0; index < REQUESTS; index += 1) {
    took.push(1000 * (await seconds(agent.call('GET', paths[index % paths.length] ?? '/livez'))));
  }
  return { took, hungAt };
}

/** Rounds of a volume that shows another one: from the change to the verdict, and from there to the outcome. */
async function losses({ agent, mount, folder }: Scene): Promise<{ verdict: number[]; settled: number[] }> {
  const [verdict, settled]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    await running(agent, `lost-${round}`, 'sleep 3600');
    const other = new VolumeLayout(join(folder, `other-${round}`));
    mkdirSync(other.identity, { recursive: true });
    writeFileSync(other.epoch, `${String(round).repeat(32)}\n`);
    await mount.replaceBy(join(folder, `other-${round}`));
    const over = seconds(followed(agent, `lost-${round}`));
    verdict.push(await seconds(believes(agent, 'lost')));
    settled.push(await over);
    await believes(agent, 'trusted');
  }
  return { verdict, settled };
}

export async function run(): Promise<BenchResult> {
  const { noticed, back } = await withScene(stalls);
  const lost = await withScene(losses);
  const { took, hung } = await withScene(async (scene) => {
    const answers = await answersMs(scene);
    await followed(scene.agent, 'told');
    return { took: answers.took, hung: (performance.now() - answers.hungAt) / 1000 };
  });
  const [p99, worst] = [quantile(took, 0.99), (of: readonly number[]): number => Math.max(...of)];
  return {
    name: 'Trust in the mount',
    goal: `a stall is noticed within ${NOTICED_GOAL_S} s, other data within ${VERDICT_GOAL_S} s, trust is back within ${TRUSTED_GOAL_S} s; p99 of HTTP below ${P99_GOAL_MS} ms while every call on the volume hangs`,
    rows: [
      { label: 'stall noticed, median', value: median(noticed), unit: 's' },
      { label: 'stall noticed, worst', value: worst(noticed), unit: 's' },
      { label: 'another volume shown → lost, median', value: median(lost.verdict), unit: 's' },
      { label: 'another volume shown → lost, worst', value: worst(lost.verdict), unit: 's' },
      { label: 'another volume shown → outcome of its script, worst', value: worst(lost.settled), unit: 's' },
      { label: 'hang → outcome of its script, by the default limit of 90 s', value: hung, unit: 's' },
      { label: 'volume answers again → trusted, median', value: median(back), unit: 's' },
      { label: 'volume answers again → trusted, worst', value: worst(back), unit: 's' },
      { label: 'HTTP while every call hangs, median', value: median(took), unit: 'ms' },
      { label: 'HTTP while every call hangs, p99', value: p99, unit: 'ms' },
      { label: 'HTTP while every call hangs, worst', value: worst(took), unit: 'ms' },
    ],
    met:
      worst(noticed) < NOTICED_GOAL_S &&
      worst(lost.verdict) < VERDICT_GOAL_S &&
      worst(back) < TRUSTED_GOAL_S &&
      hung < LIMIT_GOAL_S &&
      p99 < P99_GOAL_MS,
    notes: [
      'The volume is a FUSE file system with faults, and the settings of the agent are the default ones.',
    ],
  };
}
