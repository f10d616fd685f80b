/** Storage that hangs: the agent answers, nothing false is said, and what was not lost goes on (invariants 4, 7, 8). */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import {
  agentOnFaults,
  answersBeside,
  bash,
  believes,
  followed,
  running,
  soon,
  threadsOf,
} from '../faults/agent-on-faults.ts';
import { CHANGES } from '../faults/fault-rules.ts';
import { missingForFaults } from '../faults/faulty-mount.ts';

const skip = missingForFaults() ?? false;
/** Between a hang and its refusal lies a deadline of the volume, on a machine that may be busy. */
const REFUSED_MS = 20_000;
const PATIENT = { 'stall-limit-ms': 600_000, 'probe-interval-ms': 500, 'probe-deadline-ms': 4000 };
const IMPATIENT = { 'stall-limit-ms': 15_000, 'probe-interval-ms': 500, 'probe-deadline-ms': 4000 };

test('while every call hangs, requests are refused in time and all else answers', { skip }, async (t) => {
  const { agent, mount } = await agentOnFaults(t, PATIENT);
  const pid = agent.child.pid ?? 0;
  await running(agent, 'before', 'true');
  await followed(agent, 'before');
  await running(agent, 'runs', 'sleep 600');
  await mount.fault({ kind: 'hang' });
  const refused = [
    ...Array.from({ length: 8 }, (_, i) => agent.push(`p${i}`, '1.0.0', randomBytes(100_000))),
    ...Array.from({ length: 8 }, (_, i) => agent.call('PUT', `/v1/scripts/s${i}`, bash('echo x'))),
    ...Array.from({ length: 8 }, () => agent.call('GET', '/v1/packages?id=p')),
  ];
  await mount.held();
  for (let i = 0; i < 20; i += 1)
    t.strictSame(new Set((await answersBeside(agent)).map((one) => one.status)), new Set([200]));
  for (const answer of refused) {
    const { status, headers, json, text } = await soon(answer, REFUSED_MS);
    t.equal(status, 503, text);
    t.match(json['code'], /^STORAGE_(TIMEOUT|BUSY)$/, text);
    t.match(headers.get('retry-after'), /^\d+$/, text);
  }
  await believes(agent, 'stalled');
  const again = await soon(agent.call('PUT', '/v1/scripts/at-once', bash('echo x')));
  t.match(
    again,
    { status: 503, json: { code: 'STORAGE_TIMEOUT' } },
    'refused by what is believed, not by a deadline',
  );
  // It answers for what is in memory, and a server that is sent away could not ask for its scripts.
  t.match(await soon(agent.call('GET', '/readyz')), { status: 200, text: /stalled/ });
  const status = await soon(agent.call('GET', '/v1/scripts/runs'));
  t.match(status, { status: 200, json: { state: 'running', outcome: null } }, status.text);
  const stuck = threadsOf(pid).filter(({ state }) => state === 'D');
  t.ok(stuck.length <= 32, `${stuck.length} threads hang of 64`);
  t.notOk(threadsOf(pid).some(({ name, state }) => name === 'MainThread' && state === 'D'));
  await mount.heal();
  await believes(agent, 'trusted', 20_000);
  t.equal((await agent.push('after', '1.0.0', randomBytes(1000))).status, 201);
  await running(agent, 'after', 'true');
  t.match((await followed(agent, 'after')).status.outcome, { code: 'SUCCEEDED' });
  t.equal(agent.child.exitCode, null, 'it went on by itself');
});

test('an agent whose calls hang leaves within seconds when it is told to', { skip }, async (t) => {
  const { agent, mount } = await agentOnFaults(t, { ...PATIENT, 'shutdown-ms': 2000 });
  await running(agent, 'runs', 'sleep 600');
  await mount.fault({ kind: 'hang' });
  const answers = Array.from({ length: 20 }, (_, i) =>
    agent.push(`p${i}`, '1.0.0', randomBytes(1000)).catch(() => 'cut'),
  );
  await mount.held();
  const { code, signal } = await soon(agent.stop(), 15_000);
  // An ordinary exit waits for the threads that hang, so that it ends itself by the one signal that they let through.
  t.ok(code === 0 || signal === 'SIGKILL', `${code} ${signal}`);
  t.match(agent.log.join('\n'), /agent has stopped/);
  await Promise.all(answers);
});

for (const killable of [true, false]) {
  const how = killable ? '' : ' and cannot be killed';
  test(`a script whose writes hang${how} is no success while its end is unknown`, { skip }, async (t) => {
    const { agent, mount, folder } = await agentOnFaults(t, IMPATIENT);
    const body = `while [ ! -e ${folder}/go ]; do sleep 0.1; done; echo x > file; echo written; exit 0`;
    await running(agent, 'writes', body);
    await running(agent, 'beside', `while [ ! -e ${folder}/end ]; do sleep 0.1; done`);
    await mount.fault({
      kind: 'hang',
      operations: CHANGES,
      path: '/longshore-v1/work/writes-*/**',
      killable,
    });
    writeFileSync(join(folder, 'go'), '');
    await mount.held(({ path }) => path.includes('/files/'));
    const page = await soon(agent.call('GET', '/v1/scripts/writes'));
    t.match(page, { status: 200, json: { state: 'running', outcome: null } });
    await soon(agent.call('POST', '/v1/scripts/writes/cancel'), REFUSED_MS);
    writeFileSync(join(folder, 'end'), '');
    t.match((await followed(agent, 'beside')).status.outcome, { code: 'SUCCEEDED' }, 'others end meanwhile');
    if (!killable) await mount.heal();
    const { status } = await followed(agent, 'writes');
    t.not(status.outcome?.code, 'SUCCEEDED', JSON.stringify(status.outcome));
    t.match(status.outcome, { code: /^SCRIPT_CANCELLED$|^STORAGE_/ });
  });
}
