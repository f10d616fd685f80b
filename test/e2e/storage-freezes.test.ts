/** Fifty scripts on a volume whose server stands still: shorter than the limit nothing fails, longer all of them do (invariants 4, 8). */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import {
  agentOnFaults,
  answersBeside,
  believes,
  followed,
  scriptProcessesOf,
  running,
} from '../faults/agent-on-faults.ts';
import { missingForFaults } from '../faults/faulty-mount.ts';
import { agentTextOf, bytesOf, type AgentProcess } from '../harness/agent-process.ts';
import { eventually } from '../harness/eventually.ts';

const skip = missingForFaults() ?? false;
const FIFTY = { 'max-scripts': 60, 'volume-deadline-ms': 20_000, 'volume-slow-deadline-ms': 30_000 };
const PATIENT = { 'stall-limit-ms': 600_000, 'probe-interval-ms': 500, 'probe-deadline-ms': 4000 };
const IMPATIENT = { 'stall-limit-ms': 15_000, 'probe-interval-ms': 500, 'probe-deadline-ms': 4000 };

/** A few at a time: what is measured is not how fast a busy machine starts them. */
async function allRunning(agent: AgentProcess, tickets: readonly string[], body: string): Promise<void> {
  for (let at = 0; at < tickets.length; at += 10) {
    await Promise.all(tickets.slice(at, at + 10).map((ticket) => running(agent, ticket, body)));
  }
}

test(
  'fifty scripts outlive a server of the volume that stood still for a while, with all they wrote',
  { skip },
  async (t) => {
    const { agent, mount, folder } = await agentOnFaults(t, { ...PATIENT, ...FIFTY });
    const tickets = Array.from({ length: 50 }, (_, i) => `s${i}`);
    const body = `while [ ! -e ${folder}/go ]; do sleep 0.2; done; for i in $(seq 200); do echo "line $i"; done; echo end`;
    await allRunning(agent, tickets, body);
    mount.freeze();
    writeFileSync(join(folder, 'go'), '');
    await believes(agent, 'stalled');
    for (let i = 0; i < 20; i += 1) await answersBeside(agent);
    t.equal(agent.child.exitCode, null);
    mount.thaw();
    await believes(agent, 'trusted', 20_000);
    const expected = ['up', ...Array.from({ length: 200 }, (_, i) => `line ${i + 1}`), 'end', ''].join('\n');
    for (const ticket of tickets) {
      const { status, lines } = await followed(agent, ticket);
      t.equal(status.outcome?.code, 'SUCCEEDED', `${ticket}: ${JSON.stringify(status.outcome)}`);
      t.equal(bytesOf(lines, 'stdout').toString(), expected, ticket);
    }
    const { lines } = await followed(agent, 's0');
    t.match(agentTextOf(lines), / s\b/, 'it says how long');
  },
);

test(
  'fifty scripts whose volume hangs beyond the limit end as STORAGE_TIMEOUT, and none as a success',
  { skip },
  async (t) => {
    const { agent, mount, folder } = await agentOnFaults(t, { ...IMPATIENT, ...FIFTY });
    const tickets = Array.from({ length: 50 }, (_, i) => `s${i}`);
    const body = `while :; do echo x >> file; date > ${folder}/alive-$LONGSHORE_TICKET; sleep 0.2; done`;
    await allRunning(agent, tickets, body);
    mount.freeze();
    await believes(agent, 'lost');
    for (const ticket of tickets) {
      const { status } = await followed(agent, ticket);
      t.match(status.outcome, { code: 'STORAGE_TIMEOUT', category: 'storage' }, ticket);
    }
    await answersBeside(agent);
    mount.thaw();
    await believes(agent, 'trusted', 20_000);
    const alive = (): string[] =>
      readdirSync(folder)
        .filter((name) => name.startsWith('alive-'))
        .map((name) => readFileSync(join(folder, name), 'utf8'));
    await eventually(() => scriptProcessesOf(folder).length === 0);
    const last = alive();
    await running(agent, 'after', 'sleep 1');
    t.match((await followed(agent, 'after')).status.outcome, { code: 'SUCCEEDED' });
    t.strictSame(alive(), last, 'nothing of them runs any more');
    for (const ticket of tickets.slice(0, 3)) {
      t.match(
        (await followed(agent, ticket)).status.outcome,
        { code: 'STORAGE_TIMEOUT' },
        `${ticket}: settled once`,
      );
      t.equal((await agent.call('DELETE', `/v1/scripts/${ticket}`)).status, 204);
    }
  },
);
