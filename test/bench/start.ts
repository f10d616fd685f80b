import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { median, quantile, type BenchResult } from './bench-result.ts';
import { withAgent } from './bench-agent.ts';
import type { AgentProcess } from '../harness/agent-process.ts';

const ROUNDS = 25;
const BARE = `require('node:child_process').spawn('bash', ['-c', 'echo first'], { stdio: 'inherit' })`;

/** From the start of a bare node, which starts a bare bash, to the first byte of its output. */
async function bareMs(): Promise<number> {
  const from = performance.now();
  const child = spawn(process.execPath, ['-e', BARE], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const ms = performance.now() - from;
  child.stdout.resume();
  await once(child, 'close');
  return ms;
}

/** From sending the start to having the first line of the script: staged, fsynced, published, verified, run, sealed, read. */
async function agentMs(agent: AgentProcess, ticket: string): Promise<number> {
  const from = performance.now();
  await agent.call('PUT', `/v1/scripts/${ticket}`, { language: 'bash', body: 'echo first' });
  for (let cursor = 's0.a1'; ;) {
    const { json } = await agent.call('GET', `/v1/scripts/${ticket}?after=${cursor}&wait=10`);
    const { next, lines } = json['journal'] as { next: string; lines: { stream: string }[] };
    if (lines.some(({ stream }) => stream === 'stdout')) break;
    cursor = next;
  }
  const ms = performance.now() - from;
  await agent.follow(ticket);
  return ms;
}

export async function run(): Promise<BenchResult> {
  const bare: number[] = [];
  const ours: number[] = [];
  await withAgent(async (agent) => {
    for (let round = 0; round < ROUNDS; round += 1) {
      bare.push(await bareMs());
      ours.push(await agentMs(agent, `start-${round}`));
    }
  });
  const ratio = median(ours.map((ms, round) => ms / (bare[round] ?? Number.NaN)));
  return {
    name: 'start to first journal line',
    goal: 'at most 1.3 times a bare node that starts a bare bash',
    rows: [
      { label: 'bare node + bash, median', value: median(bare), unit: 'ms' },
      { label: 'PUT to first line in the client, median', value: median(ours), unit: 'ms' },
      { label: 'PUT to first line in the client, p95', value: quantile(ours, 0.95), unit: 'ms' },
      { label: 'ratio, median of pairs', value: ratio, unit: '×' },
    ],
    met: ratio <= 1.3,
  };
}
