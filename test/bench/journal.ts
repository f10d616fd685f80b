import type { AgentProcess } from '../harness/agent-process.ts';
import { withAgent } from './bench-agent.ts';
import { quantile, type BenchResult } from './bench-result.ts';

const SECONDS = 10;
const FLOOD_MIB = 200;
const GOAL_MS = 100;
const GOAL_MIB = 20;

/** Whoever reaches an agent. */
type Caller = {
  call(method: string, path: string, body?: unknown): Promise<{ json: Record<string, unknown> }>;
};

/** From the moment that the script's echo names to the client's having the line, for a line every 20 ms. */
export async function latencies(agent: Caller): Promise<number[]> {
  const body = `for i in $(seq ${SECONDS * 50}); do echo "$EPOCHREALTIME"; sleep 0.02; done`;
  await agent.call('PUT', '/v1/scripts/latency', { language: 'bash', body });
  const found: number[] = [];
  for (let cursor = 's0.a0'; ;) {
    const { json } = await agent.call('GET', `/v1/scripts/latency?after=${cursor}&wait=10`);
    const now = Date.now();
    const { next, lines } = json['journal'] as { next: string; lines: { stream: string; text: string }[] };
    found.push(
      ...lines.filter(({ stream }) => stream === 'stdout').map(({ text }) => now - Number(text) * 1000),
    );
    cursor = next;
    if (json['outcome'] !== null) return found;
  }
}

/** MiB/s from the script's first byte to the client's last, for lines of 80 bytes as fast as they come. */
async function flood(agent: AgentProcess): Promise<{ mibPerSecond: number; lost: number }> {
  const line = `${'x'.repeat(79)}\n`;
  const count = Math.floor((FLOOD_MIB << 20) / line.length);
  await agent.call('PUT', '/v1/scripts/flood', {
    language: 'bash',
    body: `yes ${line.trim()} | head -n ${count}`,
  });
  const from = performance.now();
  let whole = 0;
  await agent.followPages('flood', (lines) => {
    whole += lines.filter(({ stream, text }) => stream === 'stdout' && `${text}\n` === line).length;
  });
  const seconds = (performance.now() - from) / 1000;
  return { mibPerSecond: FLOOD_MIB / seconds, lost: count - whole };
}

export async function run(): Promise<BenchResult> {
  return withAgent(async (agent) => {
    const found = await latencies(agent);
    const { mibPerSecond, lost } = await flood(agent);
    const p99 = quantile(found, 0.99);
    return {
      name: 'journal',
      goal: `p99 below ${GOAL_MS} ms from echo to client, and ${GOAL_MIB} MiB/s of lines without a loss`,
      rows: [
        { label: 'latency p50', value: quantile(found, 0.5), unit: 'ms' },
        { label: 'latency p99', value: p99, unit: 'ms' },
        { label: 'latency maximum', value: quantile(found, 1), unit: 'ms' },
        { label: `${FLOOD_MIB} MiB of 80-byte lines, to the client`, value: mibPerSecond, unit: 'MiB/s' },
        { label: 'lines lost', value: lost, unit: '' },
      ],
      met: p99 < GOAL_MS && mibPerSecond >= GOAL_MIB && lost === 0,
      notes: ['The client that follows runs on the same machine and takes its share of the processor.'],
    };
  });
}
