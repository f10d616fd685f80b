/** Outages of the storage under running pods of a real cluster: the claim is a file system that fails when it is told. */
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { JournalLine } from '../../../src/protocol/script-status.ts';
import { answersBeside, believes, followed } from '../../faults/agent-on-faults.ts';
import { FaultyMount } from '../../faults/faulty-mount.ts';
import type { AgentProcess } from '../../harness/agent-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { agentGroundFor, type AgentGround } from './agent-ground.ts';
import { own } from './ground.ts';
import { put, STEADY_EXIT_CODE, SteadyScript } from './steady-script.ts';

const SETTINGS = { 'stall-limit-ms': '30000', 'absent-again-ms': '2000', 'volume-deadline-ms': '5000' };
const POD_MS = 120_000;

let ground: AgentGround;
let mount: FaultyMount;
let agent: AgentProcess;
/** A claim without data: the folder of it that the agent has is there again, as whoever mounts it makes it. */
let emptied: string;

t.before(async () => {
  ground = await agentGroundFor(t);
  ground.subfolder('volume');
  emptied = temporaryFolder(t, 'longshore-empty');
  mkdirSync(join(emptied, 'volume'));
  own(emptied);
  mount = await FaultyMount.over(t, ground.folder, temporaryFolder(t, 'longshore-claims'));
  agent = await ground.agent(Object.entries(SETTINGS).flatMap(([key, value]) => [`--${key}`, value]));
  // Before all other ends: a pod that hangs on the volume cannot be removed.
  t.teardown(() => mount.heal());
});
t.afterEach(async (t) => {
  if (!t.passing()) t.comment(agent.log.slice(-100).join('\n'));
  await mount.heal();
  await believes(agent, 'trusted');
});

/** Two scripts that run in pods until they are told to go on by a file of nobody's volume: their own TERM or time. */
async function runningPods(names: Readonly<Record<'shared' | 'copied', string>>): Promise<void> {
  for (const [storage, ticket] of Object.entries(names)) {
    await put(agent, ticket, { body: 'echo up; sleep 45; echo over', storage });
  }
  for (const ticket of Object.values(names)) {
    await eventually(async () => (await stdoutOf(ticket)).includes('up'), POD_MS);
    // The agent has seen who runs it, and not only its first line.
    const state = async (): Promise<unknown> =>
      (await agent.call('GET', `/v1/scripts/${ticket}`)).json['state'];
    await eventually(async () => (await state()) === 'running', POD_MS);
  }
}

async function stdoutOf(ticket: string): Promise<string[]> {
  const { json } = await agent.call('GET', `/v1/scripts/${ticket}?after=s0.a0`);
  // Refused for a moment where the volume stalls.
  const { lines } = (json['journal'] ?? { lines: [] }) as { lines: readonly JournalLine[] };
  return lines.filter(({ stream }) => stream === 'stdout').map(({ text }) => text);
}

/** The shared script ended with the loss, the copied one by itself, and new work goes to the same volume. */
async function holdsThroughLoss(
  t: Test,
  name: string,
  code: string,
  lose: () => Promise<void>,
): Promise<void> {
  const names = { shared: `${name}-shared`, copied: `${name}-copied` };
  await runningPods(names);
  await lose();
  const shared = await followed(agent, names.shared);
  t.match(shared.status.outcome, { code, category: 'storage' }, JSON.stringify(shared.status.outcome));
  await answersBeside(agent);
  await mount.heal();
  const copied = await followed(agent, names.copied);
  t.match(copied.status.outcome, { code: 'SUCCEEDED' }, JSON.stringify(copied.status.outcome));
  t.same(await stdoutOf(names.copied), ['up', 'over']);
  await believes(agent, 'trusted');
  await put(agent, `${name}-after`, { body: 'echo after' });
  t.match((await followed(agent, `${name}-after`)).status.outcome, { code: 'SUCCEEDED' });
  for (const ticket of [...Object.values(names), `${name}-after`]) {
    t.equal((await agent.call('DELETE', `/v1/scripts/${ticket}`)).status, 204);
  }
  await eventually(async () => (await ground.names('pods')).every((pod) => !pod.includes(name)), POD_MS);
}

t.test('storage that stands still for a while fails no script of a pod (invariant 8)', async (t) => {
  const volume = join(ground.folder, 'volume');
  const script = await SteadyScript.start(t, { agent: () => agent, volume, ticket: 'still' });
  await script.writes(50);
  mount.freeze();
  t.teardown(() => mount.thaw());
  await believes(agent, 'stalled');
  await answersBeside(agent);
  t.match(await agent.push('refused', '1.0.0', randomBytes(10)), { status: 503 });
  mount.thaw();
  await believes(agent, 'trusted');
  await script.writes(50);
  await script.isTold();
  script.stop();
  const { outcome } = await script.finished;
  t.match(outcome, { code: 'SCRIPT_FAILED', exitCode: STEADY_EXIT_CODE });
  t.ok(script.told.equals(script.written), 'a server that followed got every byte once');
});

t.test('a claim that is emptied ends its pods as STORAGE_EMPTIED, but for copied scripts', async (t) => {
  await holdsThroughLoss(t, 'emptied', 'STORAGE_EMPTIED', () => mount.replaceBy(emptied));
});

t.test('a claim that hangs beyond the limit ends its pods as STORAGE_TIMEOUT', async (t) => {
  await holdsThroughLoss(t, 'hung', 'STORAGE_TIMEOUT', () => mount.fault({ kind: 'hang' }));
});

t.test('a claim whose hang no signal ends leaves no pod behind when it is back', async (t) => {
  await holdsThroughLoss(t, 'stuck', 'STORAGE_TIMEOUT', () => mount.fault({ kind: 'hang', killable: false }));
});

t.test('a claim that says ESTALE beyond the limit ends its pods as STORAGE_STALE', async (t) => {
  await holdsThroughLoss(t, 'stale', 'STORAGE_STALE', () => mount.fault({ kind: 'errno', errno: 'ESTALE' }));
});

t.test(
  'a claim without room for uploads and workspaces refuses what is new, and pods that run go on',
  async (t) => {
    await put(agent, 'full', { body: 'echo up; sleep 20; echo over' });
    await eventually(async () => (await stdoutOf('full')).includes('up'), POD_MS);
    for (const path of ['/volume/longshore-v1/uploads/**', '/volume/longshore-v1/work/**']) {
      await mount.fault({ kind: 'errno', errno: 'ENOSPC', operations: ['create', 'write', 'mkdir'], path });
    }
    t.match(await agent.push('full', '1.0.0', randomBytes(10)), {
      status: 507,
      json: { code: 'STORAGE_FULL' },
    });
    t.match((await followed(agent, 'full')).status.outcome, { code: 'SUCCEEDED' });
  },
);
