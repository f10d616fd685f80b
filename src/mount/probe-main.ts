import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { ProbeLane } from './probe-lane.ts';
import { startProbeProgram } from './probe-program.ts';
import { runProbe } from './probe-steps.ts';
import { parseLine, PROBE_KINDS, type ChildLine, type NurseryLine, type ProbeOrder } from './probe-words.ts';

const STDOUT = 1;

/**
 * Starts and kills the children that probe, and has no file of the volume open itself.
 *
 * The agent cannot do that: a spawn from a process with unwritten bytes for a dead server freezes it (measured: 100 s).
 * Orders come on stdin, reports go to stdout, a line each. It ends with stdin, which ends with the agent.
 */
async function probeNursery(program: string): Promise<void> {
  const start = () => startProbeProgram(program, '--child');
  const lanes = new Map(PROBE_KINDS.map((kind) => [kind, new ProbeLane(kind, start)]));
  const say = (line: NurseryLine): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
  // EPIPE: the agent is gone, and then stdin ends too.
  process.stdout.on('error', () => undefined);
  for await (const line of createInterface({ input: process.stdin })) {
    const order = parseLine<ProbeOrder>(line);
    if (order) lanes.get(order.kind)?.take(order, (report) => say({ id: order.id, report }));
  }
  for (const lane of lanes.values()) lane.kill();
}

/**
 * Probes: takes orders from stdin, one a line, and tells every step on stdout.
 *
 * It ends when stdin does, and where a call hangs, by the SIGKILL of the nursery.
 */
async function probeChild(): Promise<void> {
  // Written at once and not when the loop comes round: the next call may be the one that never returns.
  const say = (line: ChildLine): void => void fs.writeSync(STDOUT, `${JSON.stringify(line)}\n`);
  say({ type: 'ready' });
  for await (const line of createInterface({ input: process.stdin })) {
    const order = parseLine<ProbeOrder>(line);
    if (order === undefined) continue;
    runProbe(order.kind, order.places, (step) => say({ type: 'step', id: order.id, step }));
    say({ type: 'done', id: order.id });
  }
}

const [, program = '', role] = process.argv;
await (role === '--child' ? probeChild() : probeNursery(program));
// A child that the kernel holds has its pipes here, which an ordinary end would wait for.
process.kill(process.pid, 'SIGKILL');
