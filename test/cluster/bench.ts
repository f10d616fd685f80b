/** `npm run bench:cluster`: how fast script pods are, on the cluster of the tests; writes docs/reference/benchmarks-cluster.md.
 *
 *  `npm run bench:cluster -- start journal 1000` runs those and only prints; a number is that many scripts. */
import { writeFileSync } from 'node:fs';
import { pageFor, sectionFor } from '../bench/bench-page.ts';
import { quantile, type BenchResult } from '../bench/bench-result.ts';
import { latencies } from '../bench/journal.ts';
import { benchAgentFor, type BenchAgent } from './bench-agent.ts';
import { many } from './bench-many.ts';
import { starts } from './bench-start.ts';
import { bringUp, takeDown } from './cluster.ts';
import { provideProjectImages } from './project-images.ts';

const PAGE = 'docs/reference/benchmarks-cluster.md';
const ALL = ['start', 'journal', '200', '1000'];
const LATENCY_GOAL_MS = 250;

async function journal(agent: BenchAgent): Promise<BenchResult> {
  const found = await latencies(agent);
  const p99 = quantile(found, 0.99);
  return {
    name: 'journal of a script pod',
    goal: `p99 below ${LATENCY_GOAL_MS} ms from echo to client`,
    rows: [
      { label: 'latency p50', value: quantile(found, 0.5), unit: 'ms' },
      { label: 'latency p99', value: p99, unit: 'ms' },
      { label: 'latency maximum', value: quantile(found, 1), unit: 'ms' },
    ],
    met: p99 < LATENCY_GOAL_MS,
  };
}

/** @throws {RangeError} for a name that is none. */
function benchNamed(name: string): (agent: BenchAgent) => Promise<BenchResult> {
  if (name === 'start') return starts;
  if (name === 'journal') return journal;
  if (/^\d+$/.test(name)) return (agent) => many(agent, Number(name));
  throw new RangeError(`a benchmark is start, journal, or a number of scripts, and not ${name}`);
}

async function main(asked: readonly string[]): Promise<void> {
  const benches = (asked.length > 0 ? asked : ALL).map(benchNamed);
  const endings: (() => unknown)[] = [];
  const t = { teardown: (work: () => unknown) => void endings.unshift(work) };
  await bringUp((line) => process.stdout.write(`${line}\n`));
  await provideProjectImages();
  try {
    const results: BenchResult[] = [];
    for (const bench of benches) {
      // Each has an agent of its own: the highest memory of one is not that of another.
      results.push(await bench(await benchAgentFor(t)));
      process.stdout.write(`${results.map(sectionFor).at(-1) ?? ''}\n`);
    }
    if (asked.length === 0)
      writeFileSync(PAGE, pageFor('Benchmarks in a cluster', 'npm run bench:cluster', results));
  } finally {
    for (const end of endings) await end();
    if (process.env['LONGSHORE_CLUSTER_KEEP'] !== '1') await takeDown();
  }
}

await main(process.argv.slice(2));
