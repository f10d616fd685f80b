/** One agent in a pod, as the guide deploys it, and what a benchmark asks about its process. */
import { readdirSync, readFileSync } from 'node:fs';
import type { ScriptStatus } from '../../src/protocol/script-status.ts';
import { eventually } from '../harness/eventually.ts';
import { AgentDeployment } from './suites/agent-deployment.ts';
import { groundFor, type Ground } from './suites/ground.ts';

type Teardown = { teardown: (work: () => unknown) => void };

/** The nodes are processes of this machine, so that those of their pods can be found here. */
const PROGRAM = /^\/usr\/local\/bin\/node\0.*\/opt\/longshore\//s;

export interface BenchAgent {
  readonly ground: Ground;
  /** Of this machine. */
  readonly pid: number;
  call(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; json: Record<string, unknown> }>;
  /** Waits for the outcome, reading the journal on the way as a server does. */
  outcome(ticket: string): Promise<ScriptStatus>;
  /** The sum of a counter over all its labels. */
  counter(name: string): Promise<number>;
}

/** Deploys it in a namespace of its own, which goes with `t`. */
export async function benchAgentFor(t: Teardown): Promise<BenchAgent> {
  const ground = await groundFor(t, 'longshore');
  const agents = await AgentDeployment.start(t, ground);
  await ground.kubectl('scale', 'deployment/longshore', '--replicas=1');
  await eventually(async () => (await podsOf(ground)).length === 1, 60_000);
  const [{ ip = '', uid = '' } = {}] = await podsOf(ground);
  const call: BenchAgent['call'] = (method, path, body) => agents.call(ip, method, path, body);
  return {
    ...{ ground, pid: pidIn(uid), call },
    outcome: (ticket) => outcomeOf(call, ticket),
    counter: async (name) => {
      const scrape = await (await fetch(`http://${ip}:8461/metrics`)).text();
      const rows = scrape.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'gm'));
      return [...rows].reduce((sum, [, count]) => sum + Number(count), 0);
    },
  };
}

async function outcomeOf(call: BenchAgent['call'], ticket: string): Promise<ScriptStatus> {
  for (let cursor = 's0.a0'; ;) {
    const { status, json } = await call('GET', `/v1/scripts/${ticket}?after=${cursor}&wait=20`);
    if (status !== 200) throw new Error(`GET ${ticket} answered ${status}: ${JSON.stringify(json)}`);
    // Checked against the schema in test/api; here it is read.
    const page = json as unknown as ScriptStatus;
    cursor = page.journal.next;
    if (page.outcome && !page.journal.more) return page;
  }
}

async function podsOf({ kubectl }: Ground): Promise<{ ip?: string; uid?: string }[]> {
  const path = 'jsonpath={range .items[*]}{.status.podIP} {.metadata.uid}{"\\n"}{end}';
  const text = await kubectl('get', 'pods', '-l', 'app=longshore', '-o', path);
  return text
    .trim()
    .split('\n')
    .map((row) => {
      const [ip = '', uid = ''] = row.split(' ');
      return { ip, uid };
    });
}

/** @throws {Error} where no agent runs in the control group of that pod. */
function pidIn(podUid: string): number {
  const found = readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const isAgent = PROGRAM.test(readFileSync(`/proc/${name}/cmdline`, 'latin1'));
      return isAgent && readFileSync(`/proc/${name}/cgroup`, 'latin1').includes(podUid);
    } catch {
      // It has ended meanwhile.
      return false;
    }
  });
  const [pid] = found;
  if (pid === undefined) throw new Error(`no agent runs in the pod ${podUid}`);
  return Number(pid);
}
