import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { median, quantile, type BenchResult } from './bench-result.ts';
import { withAgent } from './bench-agent.ts';
import type { AgentProcess } from '../harness/agent-process.ts';

const ROUNDS = 20;
/** Long enough for the next spare runner to be ready. */
const APART_MS = 700;
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

async function rounds(
  agent: AgentProcess,
  name: string,
  pauseMs: number,
): Promise<{ bare: number[]; ours: number[] }> {
  const found = { bare: [] as number[], ours: [] as number[] };
  for (let round = 0; round < ROUNDS; round += 1) {
    await pause(pauseMs);
    found.bare.push(await bareMs());
    await pause(pauseMs);
    found.ours.push(await agentMs(agent, `${name}-${round}`));
  }
  return found;
}

function ratioOf({ bare, ours }: { bare: number[]; ours: number[] }): number {
  return median(ours.map((ms, round) => ms / (bare[round] ?? Number.NaN)));
}

export async function run(): Promise<BenchResult> {
  const { apart, dense } = await withAgent(async (agent) => ({
    apart: await rounds(agent, 'apart', APART_MS),
    dense: await rounds(agent, 'dense', 0),
  }));
  const ratio = ratioOf(apart);
  return {
    name: 'start to first journal line',
    goal: 'at most 1.3 times a bare node that starts a bare bash',
    rows: [
      { label: 'bare node + bash, median', value: median(apart.bare), unit: 'ms' },
      { label: 'PUT to first line in the client, median', value: median(apart.ours), unit: 'ms' },
      { label: 'PUT to first line in the client, p95', value: quantile(apart.ours, 0.95), unit: 'ms' },
      { label: 'ratio, median of pairs', value: ratio, unit: '×' },
      { label: 'one script right after the other: median', value: median(dense.ours), unit: 'ms' },
      { label: 'one script right after the other: ratio', value: ratioOf(dense), unit: '×' },
    ],
    met: ratio <= 1.3,
    notes: [
      'The agent keeps one runner ready. Scripts that start faster than the next one is made (about 0.3 s) wait for it, or start a cold one.',
    ],
  };
}
