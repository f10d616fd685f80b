import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import { AgentProcess, bytesOf, type AgentOptions } from '../harness/agent-process.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

const LINES = 40;
/** A whole life has fewer operations; reaching this means that the life never ended. */
const MOST_STEPS = 2000;
/** Both ends of every operation are a step. `npm test` tries every 16th, `npm run test:kill` each. */
const STRIDE = Number(process.env['LONGSHORE_KILL_STRIDE'] ?? 16);

interface Life {
  readonly ticket: string;
  readonly request: object;
  readonly package: Buffer;
  readonly counter: string;
}

function lifeOf(folder: string, step: number): Life {
  const ticket = `killed-at-${step}`;
  const counter = join(folder, ticket);
  const body = `echo ran >> ${counter}; for i in $(seq 1 ${LINES}); do echo "$i of $1"; [ $((i % 10)) = 0 ] && sleep 0.02; done; exit 5`;
  const packages = [{ id: 'app', version: `1.0.${step}` }];
  return {
    ticket,
    counter,
    package: randomBytes(70_000),
    request: { language: 'bash', body, arguments: [ticket], packages },
  };
}

/** Goes the whole way of one script; every call of it may be repeated by the next agent. */
async function live(agent: AgentProcess, life: Life): Promise<{ code: string; output: string }> {
  const pushed = await agent.push(
    'app',
    String((life.request as { packages: { version: string }[] }).packages[0]?.version),
    life.package,
  );
  if (pushed.status !== 200 && pushed.status !== 201)
    throw new Error(`push answered ${pushed.status}: ${pushed.text}`);
  const started = await agent.call('PUT', `/v1/scripts/${life.ticket}`, life.request);
  if (started.status !== 200) throw new Error(`start answered ${started.status}: ${started.text}`);
  const { status, lines } = await agent.follow(life.ticket);
  return { code: status.outcome?.code ?? 'none', output: bytesOf(lines, 'stdout').toString() };
}

t.test(
  'an agent that is killed at any step of a script loses nothing, doubles nothing and runs it once (invariants 1, 3, 5)',
  async (t) => {
    const folder = temporaryFolder(t);
    const options: AgentOptions = { volume: join(folder, 'volume'), state: join(folder, 'state') };
    mkdirSync(options.volume);
    let agent: AgentProcess | undefined;
    t.teardown(async () => agent?.kill());
    let kills = 0;
    for (let step = 1; step < MOST_STEPS; step += STRIDE) {
      const program = [resolve('.build/test/e2e/killed-agent.js'), String(step)];
      agent = new AgentProcess({ ...options, program });
      await agent.ready();
      const { child, log } = agent;
      child.kill('SIGUSR2');
      await eventually(() => log.some((line) => line.includes('armed')));
      const life = lifeOf(folder, step);
      const survived = await Promise.race([
        live(agent, life).catch(() => undefined),
        agent.ended.then(() => undefined),
      ]);
      if (survived) {
        t.match(survived, { code: 'SCRIPT_FAILED' });
        break;
      }
      await agent.ended;
      kills += 1;
      // The next agent finds what the killed one left, and the server repeats what was not answered.
      agent = new AgentProcess(options);
      await agent.ready();
      const { code, output } = await live(agent, life);
      const expected = Array.from({ length: LINES }, (_, index) => `${index + 1} of ${life.ticket}\n`).join(
        '',
      );
      t.equal(code, 'SCRIPT_FAILED', `killed at step ${step}`);
      t.equal(output, expected, `its journal is whole, killed at step ${step}`);
      t.equal(readFileSync(life.counter, 'utf8'), 'ran\n', `it ran once, killed at step ${step}`);
      t.equal((await agent.call('DELETE', `/v1/scripts/${life.ticket}`)).status, 204);
      await agent.kill();
    }
    t.comment(`${kills} kills`);
    t.ok(kills > 10, `the agent was killed ${kills} times`);
  },
);
