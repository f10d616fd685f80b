/** Many scripts through one agent: whether they all succeed, what it costs, and what is left. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { cpuSeconds, memoryMib } from '../bench/process-figures.ts';
import type { BenchResult } from '../bench/bench-result.ts';
import { eventually } from '../harness/eventually.ts';
import type { BenchAgent } from './bench-agent.ts';

const MEMORY_GOAL_MIB = 150;
/** Connections of a server that collects: each waits for one script at a time. */
const COLLECTORS = 20;
const REFUSED_PAUSE_MS = 1000;
const BODY = { language: 'bash', body: 'echo hello; sleep 1; echo bye' };
const REQUESTS = 'longshore_kubernetes_requests_total';

interface Ticket {
  readonly name: string;
  readonly begun: PromiseWithResolvers<undefined>;
}

/** Starts a script; false where the agent has as many as it takes (`maxScripts`). */
async function starts(agent: BenchAgent, ticket: string): Promise<boolean> {
  const { status, json } = await agent.call('PUT', `/v1/scripts/${ticket}`, BODY);
  if (status === 200) return true;
  if (status === 429) return false;
  throw new Error(`PUT ${ticket} answered ${status}: ${JSON.stringify(json)}`);
}

/** Starts all of them as fast as they are taken, and says of each when it is; returns how often one was refused. */
async function startAll(agent: BenchAgent, tickets: readonly Ticket[]): Promise<number> {
  let refused = 0;
  for (const { name, begun } of tickets) {
    while (!(await starts(agent, name))) {
      refused += 1;
      await pause(REFUSED_PAUSE_MS);
    }
    begun.resolve(undefined);
  }
  return refused;
}

/** Waits for every outcome and completes its script, as a server does; returns the codes. */
async function collectAll(agent: BenchAgent, tickets: readonly Ticket[]): Promise<string[]> {
  const queue = [...tickets];
  const codes: string[] = [];
  const collect = async (): Promise<void> => {
    for (let ticket = queue.shift(); ticket !== undefined; ticket = queue.shift()) {
      await ticket.begun.promise;
      codes.push((await agent.outcome(ticket.name)).outcome?.code ?? 'none');
      await agent.call('DELETE', `/v1/scripts/${ticket.name}`);
    }
  };
  await Promise.all(Array.from({ length: COLLECTORS }, collect));
  return codes;
}

/** What is left of scripts in cluster and volume, once the cluster had time to remove it. */
async function leftBehind({ ground }: BenchAgent): Promise<number> {
  const count = async (): Promise<number> => {
    const objects = await ground.kubectl('get', 'pods,secrets,configmaps', '-l', MANAGED, '-o', 'name');
    const workspaces = readdirSync(join(ground.folder, 'longshore-v1', 'work'));
    return objects.split('\n').filter(Boolean).length + workspaces.length;
  };
  await eventually(async () => (await count()) === 0, 120_000).catch(() => undefined);
  return count();
}

const MANAGED = 'app.kubernetes.io/managed-by=longshore';

export async function many(agent: BenchAgent, scripts: number): Promise<BenchResult> {
  const { pid } = agent;
  const idle = memoryMib(pid, 'VmRSS');
  const [cpuBefore, requestsBefore] = [cpuSeconds(pid), await agent.counter(REQUESTS)];
  const tickets = Array.from({ length: scripts }, (_, index) => ({
    name: `many-${index}`,
    begun: Promise.withResolvers<undefined>(),
  }));
  const from = performance.now();
  const [refused, codes] = await Promise.all([startAll(agent, tickets), collectAll(agent, tickets)]);
  const seconds = (performance.now() - from) / 1000;
  const cpu = cpuSeconds(pid) - cpuBefore;
  const requests = (await agent.counter(REQUESTS)) - requestsBefore;
  const highest = memoryMib(pid, 'VmHWM');
  const left = await leftBehind(agent);
  const good = codes.filter((code) => code === 'SUCCEEDED').length;
  return {
    name: `${scripts} scripts on two nodes`,
    goal: `the agent stays below ${MEMORY_GOAL_MIB} MiB resident, every script succeeds, and nothing is left behind`,
    rows: [
      { label: 'scripts that succeeded', value: good, unit: '' },
      { label: 'from the first start to the last outcome', value: seconds, unit: 's' },
      { label: 'scripts a minute', value: (scripts / seconds) * 60, unit: '' },
      { label: 'starts that were refused with 429 and sent again', value: refused, unit: '' },
      { label: 'processor time of the agent for each script', value: (cpu / scripts) * 1000, unit: 'ms' },
      { label: 'calls to the API server for each script', value: requests / scripts, unit: '' },
      { label: 'resident before the first script', value: idle, unit: 'MiB' },
      { label: 'highest resident', value: highest, unit: 'MiB' },
      { label: 'resident when all are completed', value: memoryMib(pid, 'VmRSS'), unit: 'MiB' },
      { label: 'pods, Secrets, ConfigMaps and workspaces that are left', value: left, unit: '' },
    ],
    met: good === scripts && highest < MEMORY_GOAL_MIB && left === 0,
    notes: [
      'The agent runs in a pod, in the image of docker/agent. The whole cluster, two kubelets with their containers included, shares the processors of one machine.',
    ],
  };
}
