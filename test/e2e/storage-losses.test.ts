/** Storage that comes back with other data, or none: every script that depended on it ends with the cause (invariants 4, 6, 8). */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { VolumeLayout } from '../../src/protocol/volume-layout.ts';
import {
  agentOnFaults,
  answersBeside,
  bash,
  believes,
  followed,
  scriptProcessesOf,
  running,
  verdictOf,
  type AgentOnFaults,
} from '../faults/agent-on-faults.ts';
import { missingForFaults } from '../faults/faulty-mount.ts';
import { AgentProcess, agentTextOf, bytesOf, type Answer } from '../harness/agent-process.ts';
import { eventually } from '../harness/eventually.ts';

const skip = missingForFaults() ?? false;
const FAST = {
  'probe-interval-ms': 500,
  'probe-deadline-ms': 4000,
  'absent-again-ms': 1000,
  'stall-limit-ms': 15_000,
};

/** What is under way when the data goes: scripts that run, one that waits, uploads, starts and readers of a journal. */
async function underWay({ agent, folder }: AgentOnFaults): Promise<{ answers: Promise<Answer | 'cut'>[] }> {
  const body = `echo kept; while :; do date > ${folder}/alive; sleep 0.1; done`;
  const isolation = { level: 'full', name: 'web' };
  for (const ticket of ['r1', 'r2', 'r3']) await running(agent, ticket, body);
  await running(agent, 'alone', body, { isolation });
  await agent.call('PUT', '/v1/scripts/waits', bash(`echo ran >> ${folder}/waits`, { isolation }));
  const uploads = Array.from({ length: 6 }, (_, i) =>
    uploaded(agent.push(`p${i}`, '1.0.0', randomBytes(4_000_000))),
  );
  const starts = Array.from({ length: 6 }, (_, i) =>
    agent.call('PUT', `/v1/scripts/n${i}`, bash(`echo ran >> ${folder}/n${i}`)),
  );
  const readers = Array.from({ length: 6 }, () => agent.call('GET', '/v1/scripts/r1?after=s1.a0&wait=10'));
  return { answers: [...uploads, ...starts, ...readers] };
}

/** A refused body is read on only for so long: a client that is slower finds its connection cut, and knows nothing. */
async function uploaded(answer: Promise<Answer>): Promise<Answer | 'cut'> {
  try {
    return await answer;
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ECONNRESET' || code === 'EPIPE' || code === 'UND_ERR_SOCKET') return 'cut';
    throw error;
  }
}

/** Another volume, as another agent has made it. */
function otherVolume({ folder }: AgentOnFaults): string {
  const other = new VolumeLayout(join(folder, 'other'));
  mkdirSync(other.identity, { recursive: true });
  writeFileSync(other.epoch, `${'5'.repeat(32)}\n`);
  return join(folder, 'other');
}

const losses: Readonly<Record<string, { code: string; lose: (scene: AgentOnFaults) => Promise<void> }>> = {
  emptied: { code: 'STORAGE_EMPTIED', lose: ({ mount }) => mount.empty() },
  replaced: { code: 'STORAGE_REPLACED', lose: (scene) => scene.mount.replaceBy(otherVolume(scene)) },
  stale: {
    code: 'STORAGE_STALE',
    lose: ({ mount }) => mount.fault({ kind: 'errno', errno: 'ESTALE' }),
  },
  broken: { code: 'STORAGE_ERROR', lose: ({ mount }) => mount.fault({ kind: 'errno', errno: 'EIO' }) },
};

for (const [name, { code, lose }] of Object.entries(losses)) {
  test(`a volume that is ${name} ends its scripts as ${code}, and the agent goes on`, { skip }, async (t) => {
    const scene = await agentOnFaults(t, FAST);
    const { agent, mount, folder } = scene;
    const { answers } = await underWay(scene);
    await lose(scene);
    const answered = await Promise.all(answers);
    for (const answer of answered) {
      if (answer === 'cut') continue;
      const { status, json, text } = answer;
      t.ok([200, 201, 404, 410, 503].includes(status), text);
      if (status === 503) t.match(json['code'], /^STORAGE_/, text);
    }
    for (const ticket of ['r1', 'r2', 'r3', 'alone', 'waits']) {
      const { status, lines } = await followed(agent, ticket);
      t.match(status.outcome, { code, category: 'storage' }, `${ticket}: ${JSON.stringify(status.outcome)}`);
      t.not(status.outcome?.says, '', ticket);
      if (ticket.startsWith('r'))
        t.equal(bytesOf(lines, 'stdout').toString(), 'up\nkept\n', `${ticket}: its journal is kept`);
    }
    t.equal(existsSync(join(folder, 'waits')), false, 'what waited never ran');
    await eventually(() => scriptProcessesOf(folder).length === 0);
    const last = readFileSync(join(folder, 'alive'), 'utf8');
    await answersBeside(agent);
    await mount.heal();
    await believes(agent, 'trusted', 20_000);
    await running(agent, 'after', 'sleep 1');
    t.match((await followed(agent, 'after')).status.outcome, { code: 'SUCCEEDED' });
    t.equal(readFileSync(join(folder, 'alive'), 'utf8'), last, 'nothing of them runs any more');
    for (let i = 0; i < 6; i += 1) {
      const { json, status } = await agent.call('GET', `/v1/scripts/n${i}`);
      const ran = existsSync(join(folder, `n${i}`)) ? readFileSync(join(folder, `n${i}`), 'utf8') : '';
      t.ok(['', 'ran\n'].includes(ran), 'at most once (invariant 3)');
      const outcome = json['outcome'] as { code: string } | null;
      if (status === 200 && outcome?.code === 'SUCCEEDED')
        t.equal(ran, 'ran\n', `n${i}: no false success (invariant 4)`);
    }
    t.equal((await agent.push('again', '1.0.0', randomBytes(1000))).status, 201);
    t.equal((await agent.call('DELETE', '/v1/scripts/r1')).status, 204);
    t.equal((await agent.call('GET', '/v1/scripts/r1')).status, 410);
  });
}

test('a volume that shows other data for a moment and comes back whole ends nothing', { skip }, async (t) => {
  const scene = await agentOnFaults(t, { ...FAST, 'absent-again-ms': 60_000 });
  const { agent, mount, folder } = scene;
  await running(agent, 'goes-on', `while [ ! -e ${folder}/end ]; do sleep 0.1; done; echo whole`);
  await mount.empty();
  await believes(agent, 'stalled');
  t.match(await agent.call('PUT', '/v1/scripts/refused', bash('true')), { status: 503 });
  await mount.comeBack();
  await believes(agent, 'trusted');
  writeFileSync(join(folder, 'end'), '');
  const { status, lines } = await followed(agent, 'goes-on');
  t.match(status.outcome, { code: 'SUCCEEDED' });
  t.equal(bytesOf(lines, 'stdout').toString(), 'up\nwhole\n');
  t.match(agentTextOf(lines), / s\b/, 'it says for how long');
});

test('a copied script outlives its volume, and says what could not be collected', { skip }, async (t) => {
  const scene = await agentOnFaults(t, FAST);
  const { agent, mount, folder } = scene;
  const body = `while [ ! -e ${folder}/end ]; do sleep 0.1; done; cat conf; echo left > "$LONGSHORE_ARTIFACTS/left"; echo whole`;
  const files = [{ path: 'conf', content: 'of the copy\n' }];
  await running(agent, 'copied', body, { storage: 'copied', files });
  await running(agent, 'shared', 'sleep 600');
  await mount.empty();
  t.match((await followed(agent, 'shared')).status.outcome, { code: 'STORAGE_EMPTIED' });
  writeFileSync(join(folder, 'end'), '');
  const { status, lines } = await followed(agent, 'copied');
  t.match(status.outcome, { code: 'SUCCEEDED', exitCode: 0 }, JSON.stringify(status.outcome));
  t.equal(bytesOf(lines, 'stdout').toString(), 'up\nof the copy\nwhole\n');
});

test('what a script ended as survives the volume and the agent together', { skip }, async (t) => {
  const scene = await agentOnFaults(t, FAST);
  const { agent, mount, options } = scene;
  await running(agent, 'lost', 'sleep 600');
  await mount.empty();
  const { status } = await followed(agent, 'lost');
  t.match(status.outcome, { code: 'STORAGE_EMPTIED' });
  await agent.kill();
  const next = await AgentProcess.start(t, options);
  const again = await followed(next, 'lost');
  t.match(again.status.outcome, { code: 'STORAGE_EMPTIED', says: status.outcome?.says });
  t.equal(bytesOf(again.lines, 'stdout').toString(), 'up\n');
  t.equal((await next.call('DELETE', '/v1/scripts/lost')).status, 204);
  t.match(await next.call('GET', '/v1/scripts/lost'), { status: 410 });
});

test('a mount that is gone is no empty volume: nothing is written where it was', { skip }, async (t) => {
  const scene = await agentOnFaults(t, FAST);
  const { agent, mount } = scene;
  await running(agent, 'lost', 'sleep 600');
  await mount.crash();
  const { status } = await followed(agent, 'lost');
  t.match(status.outcome, { code: /^STORAGE_/, category: 'storage' }, JSON.stringify(status.outcome));
  t.not(await verdictOf(agent), 'trusted');
  t.match(await agent.push('p', '1.0.0', randomBytes(10)), { status: 503 });
  await answersBeside(agent);
});

test('after an unmount, no volume is made on the disk below', { skip }, async (t) => {
  const { agent, mount } = await agentOnFaults(t, FAST);
  await running(agent, 'lost', 'sleep 600');
  await mount.stop();
  const { status } = await followed(agent, 'lost');
  t.match(status.outcome, { code: /^STORAGE_/, category: 'storage' }, JSON.stringify(status.outcome));
  t.not(await verdictOf(agent), 'trusted');
  t.match(await agent.push('p', '1.0.0', randomBytes(10)), { status: 503 });
  t.same(readdirSync(mount.volume), []);
});
