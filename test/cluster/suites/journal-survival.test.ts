/** Journals of script pods that outlive their agents, and the logs of a kubelet that throws them away. */
import { createHash } from 'node:crypto';
import t from 'tap';
import { bytesOf, type AgentProcess } from '../../harness/agent-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { agentGroundFor, type AgentGround } from './agent-ground.ts';
import { keyOf, put, STEADY_EXIT_CODE, SteadyScript } from './steady-script.ts';

const LINE_BYTES = 80;
const FLOOD_LINES = (200 * 1024 * 1024) / LINE_BYTES;

let ground: AgentGround;
let agent: AgentProcess;

t.before(async () => {
  ground = await agentGroundFor(t);
  agent = await ground.agent();
});
t.afterEach((t) => {
  if (!t.passing()) t.comment(agent.log.slice(-100).join('\n'));
});

t.test(
  'invariant 5: agents are killed every other second, and the next ones tell every line once',
  async (t) => {
    const scripts: SteadyScript[] = [];
    for (const ticket of ['one', 'two', 'ends']) {
      const volume = `${ground.folder}/volume`;
      scripts.push(await SteadyScript.start(t, { agent: () => agent, volume, ticket }));
    }
    const [one, two, ends] = scripts;
    if (!one || !two || !ends) throw new TypeError('there are three scripts');
    await Promise.all(scripts.map((script) => script.writes(20)));
    for (let kills = 1; kills <= 10; kills += 1) {
      // Some two seconds; and every agent has told something.
      const before = one.told.length;
      await one.writes(60);
      await eventually(() => one.told.length > before, 60_000);
      if (kills === 5) ends.stop();
      await agent.kill();
      // With a state folder of its own: of the one before, nothing is left but the volume and the cluster.
      agent = await ground.agent();
    }
    for (const script of [one, two]) script.stop();
    for (const [index, script] of scripts.entries()) {
      const { outcome } = await script.finished;
      t.match(outcome, { code: 'SCRIPT_FAILED', exitCode: STEADY_EXIT_CODE });
      t.ok(script.told.equals(script.written), `script ${index}: every byte once`);
      const again = await agent.follow(script.ticket);
      t.same(again.lines, script.lines, `script ${index}: the same lines afterwards`);
      t.equal((await agent.call('DELETE', `/v1/scripts/${script.ticket}`)).status, 204);
    }
  },
);

t.test(
  'invariant 5: 200 MiB as fast as they can be written, most of which the kubelet throws away',
  async (t) => {
    const body = `seq -f %0${LINE_BYTES - 1}.0f 1 ${FLOOD_LINES}`;
    await put(agent, 'flood', { body });
    const told = createHash('sha256');
    let bytes = 0;
    const { outcome } = await agent.followPages('flood', (lines) => {
      const page = bytesOf(lines, 'stdout');
      told.update(page);
      bytes += page.length;
    });
    t.equal(outcome?.code, 'SUCCEEDED');
    t.equal(bytes, FLOOD_LINES * LINE_BYTES);
    t.equal(told.digest('hex'), digestOfFlood());
    const log = await ground.kubectl('logs', `ls-${keyOf('flood')}`, '--limit-bytes=200');
    t.notMatch(log, /^LS1 1-/, 'the log of the container lacks its beginning');
  },
);

function digestOfFlood(): string {
  const hash = createHash('sha256');
  for (let number = 1; number <= FLOOD_LINES; number += 1)
    hash.update(`${String(number).padStart(LINE_BYTES - 1, '0')}\n`);
  return hash.digest('hex');
}
