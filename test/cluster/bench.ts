/** `npm run bench:cluster`: how fast script pods are, on the cluster of the tests; writes docs/reference/benchmarks-cluster.md. */
import { writeFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { pageFor, sectionFor } from '../bench/bench-page.ts';
import { median, quantile, type BenchResult } from '../bench/bench-result.ts';
import { latencies } from '../bench/journal.ts';
import { cpuSeconds, memoryMib } from '../bench/process-figures.ts';
import type { AgentProcess } from '../harness/agent-process.ts';
import { eventually } from '../harness/eventually.ts';
import { bringUp, takeDown } from './cluster.ts';
import { projectImages, provideProjectImages } from './project-images.ts';
import { agentGroundFor, runScript, type AgentGround } from './suites/agent-ground.ts';

const PAGE = 'docs/reference/benchmarks-cluster.md';
const ROUNDS = 12;
const SCRIPTS = 200;
const START_GOAL = 1.1;
const LATENCY_GOAL_MS = 250;
const MEMORY_GOAL_MIB = 150;

/** From the request for a bare pod of the same image until its first line was written, by containerd's clock. */
async function barePod({ kubectl, cluster, namespace }: AgentGround, name: string): Promise<number> {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      restartPolicy: 'Never',
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: { runAsNonRoot: true, runAsUser: 10001, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'script',
          image: projectImages.script,
          imagePullPolicy: 'Never',
          command: ['bash', '-c', 'echo "$EPOCHREALTIME"'],
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
    },
  };
  // kubectl takes its time to start; the API server says when the request came, in whole seconds only.
  const began = Date.now();
  await cluster.kubectl(['create', '-f', '-'], JSON.stringify(pod));
  const kubectlMs = await kubectlStartMs(kubectl);
  let text = '';
  await eventually(async () => (text = await kubectl('logs', name).catch(() => '')).trim() !== '', 60_000);
  await kubectl('delete', 'pod', name, '--wait=false');
  return Number(text.trim()) * 1000 - began - kubectlMs;
}

/** What a kubectl costs that asks for next to nothing, so that it is not counted for the rival. */
async function kubectlStartMs(kubectl: AgentGround['kubectl']): Promise<number> {
  const from = performance.now();
  await kubectl('get', 'pods', '--field-selector=metadata.name=none', '-o', 'name');
  return performance.now() - from;
}

async function scriptPod(agent: AgentProcess, ticket: string): Promise<{ written: number; seen: number }> {
  const began = Date.now();
  await agent.call('PUT', `/v1/scripts/${ticket}`, { language: 'bash', body: 'echo "$EPOCHREALTIME"' });
  let seen = 0;
  let text = '';
  for (let cursor = 's0.a0'; text === '';) {
    const { json } = await agent.call('GET', `/v1/scripts/${ticket}?after=${cursor}&wait=20`);
    const { next, lines } = json['journal'] as { next: string; lines: { stream: string; text: string }[] };
    cursor = next;
    seen = Date.now();
    text = lines.find(({ stream }) => stream === 'stdout')?.text ?? '';
  }
  await agent.follow(ticket);
  await agent.call('DELETE', `/v1/scripts/${ticket}`);
  return { written: Number(text) * 1000 - began, seen: seen - began };
}

async function starts(ground: AgentGround, agent: AgentProcess): Promise<BenchResult> {
  const rounds: { bare: number; written: number; seen: number }[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const bare = await barePod(ground, `bare-${round}`);
    rounds.push({ bare, ...(await scriptPod(agent, `start-${round}`)) });
  }
  const ratio = median(rounds.map(({ bare, written }) => written / bare));
  return {
    name: 'start of a script pod',
    goal: `the first line is written at most ${START_GOAL} times as late as by a bare pod of the same image`,
    rows: [
      {
        label: 'bare pod: first line written, median',
        value: median(rounds.map(({ bare }) => bare)),
        unit: 'ms',
      },
      {
        label: 'script: first line written, median',
        value: median(rounds.map((one) => one.written)),
        unit: 'ms',
      },
      {
        label: 'script: first line at the client, median',
        value: median(rounds.map(({ seen }) => seen)),
        unit: 'ms',
      },
      {
        label: 'script: first line at the client, slowest',
        value: quantile(
          rounds.map(({ seen }) => seen),
          1,
        ),
        unit: 'ms',
      },
      { label: 'ratio of written to bare, median of pairs', value: ratio, unit: '×' },
    ],
    met: ratio <= START_GOAL,
    notes: [
      'The bare pod mounts nothing and gets no Secret; a script is also staged, verified, sealed and published.',
      `The time that kubectl itself takes is measured each time and taken off the bare pod.`,
    ],
  };
}

async function journal(agent: AgentProcess): Promise<BenchResult> {
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

async function requestsOf(agent: AgentProcess): Promise<number> {
  const scrape = await (await fetch(agent.metrics)).text();
  return [...scrape.matchAll(/^longshore_kubernetes_requests_total\{.*\} (\d+)$/gm)].reduce(
    (sum, [, count]) => sum + Number(count),
    0,
  );
}

async function many(agent: AgentProcess): Promise<BenchResult> {
  const pid = agent.child.pid ?? 0;
  const [cpuBefore, requestsBefore] = [cpuSeconds(pid), await requestsOf(agent)];
  const from = performance.now();
  const tickets = Array.from({ length: SCRIPTS }, (_, index) => `many-${index}`);
  for (const ticket of tickets) {
    await agent.call('PUT', `/v1/scripts/${ticket}`, {
      language: 'bash',
      body: 'echo hello; sleep 1; echo bye',
    });
  }
  const codes: string[] = [];
  for (const ticket of tickets) codes.push((await agent.follow(ticket)).status.outcome?.code ?? 'none');
  const seconds = (performance.now() - from) / 1000;
  const cpu = cpuSeconds(pid) - cpuBefore;
  const requests = (await requestsOf(agent)) - requestsBefore;
  const resident = memoryMib(pid, 'VmHWM');
  for (const ticket of tickets) await agent.call('DELETE', `/v1/scripts/${ticket}`);
  const good = codes.filter((code) => code === 'SUCCEEDED').length;
  return {
    name: `${SCRIPTS} scripts on two nodes`,
    goal: `the agent stays below ${MEMORY_GOAL_MIB} MiB resident, and every script succeeds`,
    rows: [
      { label: 'scripts that succeeded', value: good, unit: '' },
      { label: 'from the first start to the last outcome', value: seconds, unit: 's' },
      { label: 'scripts a minute', value: (SCRIPTS / seconds) * 60, unit: '' },
      { label: 'processor time of the agent for each script', value: (cpu / SCRIPTS) * 1000, unit: 'ms' },
      { label: 'calls to the API server for each script', value: requests / SCRIPTS, unit: '' },
      { label: 'highest resident', value: resident, unit: 'MiB' },
    ],
    met: good === SCRIPTS && resident < MEMORY_GOAL_MIB,
    notes: [
      'The whole cluster, two kubelets with their containers included, shares the processors of one machine.',
    ],
  };
}

async function main(): Promise<void> {
  const endings: (() => unknown)[] = [];
  const t = { teardown: (work: () => unknown) => void endings.unshift(work) };
  await bringUp((line) => process.stdout.write(`${line}\n`));
  await provideProjectImages();
  try {
    const ground = await agentGroundFor(t);
    const agent = await ground.agent();
    await runScript(agent, 'warm', { body: 'true' });
    const results: BenchResult[] = [];
    for (const bench of [() => starts(ground, agent), () => journal(agent), () => many(agent)]) {
      results.push(await bench());
      process.stdout.write(`${results.map(sectionFor).at(-1) ?? ''}\n`);
    }
    writeFileSync(PAGE, pageFor('Benchmarks in a cluster', 'npm run bench:cluster', results));
  } finally {
    for (const end of endings) await end();
    if (process.env['LONGSHORE_CLUSTER_KEEP'] !== '1') await takeDown();
  }
}

await main();
