import type { AgentProcess } from '../harness/agent-process.ts';
import { eventually } from '../harness/eventually.ts';
import { withAgent } from './bench-agent.ts';
import type { BenchResult } from './bench-result.ts';
import { cpuSeconds, memoryMib } from './process-figures.ts';

const SCRIPTS = 200;
const WATCH_SECONDS = 10;
const GOAL_MIB = 150;

async function watch(agent: AgentProcess): Promise<BenchResult> {
  const pid = agent.child.pid ?? 0;
  const idle = memoryMib(pid, 'VmRSS');
  const tickets = Array.from({ length: SCRIPTS }, (_, index) => `s${index}`);
  const body = 'while :; do echo tick; sleep 1; done';
  const from = performance.now();
  for (const ticket of tickets) await agent.call('PUT', `/v1/scripts/${ticket}`, { language: 'bash', body });
  const startSeconds = (performance.now() - from) / 1000;
  await eventually(
    async () => (await agent.call('GET', `/v1/scripts/${tickets.at(-1)}`)).text.includes('tick'),
    120_000,
  );
  const cpuBefore = cpuSeconds(pid);
  const watchedFrom = performance.now();
  await eventually(() => performance.now() - watchedFrom > WATCH_SECONDS * 1000, (WATCH_SECONDS + 5) * 1000);
  const cpu = ((cpuSeconds(pid) - cpuBefore) / WATCH_SECONDS) * 100;
  const resident = memoryMib(pid, 'VmRSS');
  for (const ticket of tickets) await agent.call('POST', `/v1/scripts/${ticket}/cancel`);
  for (const ticket of tickets) await agent.follow(ticket);
  return {
    name: `${SCRIPTS} scripts at once`,
    goal: `the agent stays below ${GOAL_MIB} MiB resident`,
    rows: [
      { label: 'resident when idle', value: idle, unit: 'MiB' },
      { label: `resident with ${SCRIPTS} scripts`, value: resident, unit: 'MiB' },
      { label: 'highest resident', value: memoryMib(pid, 'VmHWM'), unit: 'MiB' },
      {
        label: `processor of the agent with ${SCRIPTS} scripts that print a line a second`,
        value: cpu,
        unit: '% of a core',
      },
      { label: `starting ${SCRIPTS}, one after the other`, value: startSeconds, unit: 's' },
    ],
    met: resident < GOAL_MIB,
  };
}

export async function run(): Promise<BenchResult> {
  return withAgent(watch);
}
