import type { Test } from 'tap';
import type { AgentProcess } from '../../harness/agent-process.ts';
import type { Mend } from '../outage.ts';
import type { AgentGround } from './agent-ground.ts';
import { HttpProbe } from './http-probe.ts';
import { put, STEADY_EXIT_CODE, SteadyScript } from './steady-script.ts';

export interface OutageTrial {
  readonly ground: AgentGround;
  readonly agent: AgentProcess;
  readonly ticket: string;
  readonly begin: () => Promise<Mend>;
  /** The lines that the script writes during the outage reach the server during the outage. */
  readonly isToldMeanwhile: boolean;
  /** More of the bodies of its scripts. */
  readonly more?: object;
}

/** What an agent may take for an answer on a machine that is busy with an outage; usually it is some milliseconds. */
const ANSWER_MS = 5000;
/** Some 15 seconds of a script. */
const LINES_OF_OUTAGE = 700;

/**
 * Holds a running script through an outage of some 15 seconds: its journal byte for byte, its outcome, what is started
 * meanwhile, and an agent that answers all the time.
 */
export async function holdThroughOutage(t: Test, trial: OutageTrial): Promise<void> {
  const { ground, agent, ticket, more = {} } = trial;
  const script = await SteadyScript.start(t, {
    agent: () => agent,
    volume: `${ground.folder}/volume`,
    ...{ ticket, more },
  });
  await script.writes(50);
  const probe = new HttpProbe(agent, ['/livez', `/v1/scripts/${ticket}`]);
  t.teardown(() => probe.stop());
  const mend = await trial.begin();
  t.teardown(mend);
  const later = [1, 2, 3].map((number) => `${ticket}-meanwhile-${number}`);
  for (const name of later) await put(agent, name, { body: `echo ${name}`, ...more });
  await script.writes(LINES_OF_OUTAGE);
  if (trial.isToldMeanwhile) await script.isTold();
  await mend();
  await script.writes(50);
  await script.isTold();
  script.stop();
  const { outcome } = await script.finished;
  await probe.stop();
  t.match(outcome, { code: 'SCRIPT_FAILED', exitCode: STEADY_EXIT_CODE });
  t.ok(script.told.equals(script.written), 'a server that followed got every byte once');
  const again = await agent.follow(ticket);
  t.same(again.lines, script.lines, 'a server that comes afterwards gets the same lines');
  t.same(probe.refusals, []);
  t.ok(probe.slowestMs < ANSWER_MS, `the slowest of ${probe.answers} answers took ${probe.slowestMs} ms`);
  for (const name of later) {
    const { status, lines } = await agent.follow(name);
    t.match(status.outcome, { code: 'SUCCEEDED' });
    t.same(
      lines.filter(({ stream }) => stream === 'stdout').map(({ text }) => text),
      [name],
    );
  }
}
