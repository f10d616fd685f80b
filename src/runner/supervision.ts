import { setTimeout as delay } from 'node:timers/promises';
import type { RunOrder } from '../protocol/run-order.ts';
import type { FrameWriter } from './frame-writer.ts';
import type { ProcessTree } from './process-tree.ts';
import type { ScriptOutput } from './script-output.ts';
import type { ProcessExit, ScriptProcess } from './script-process.ts';
import type { StdoutWitness } from './stdout-witness.ts';
import type { StopReason, StopRequest } from './stop-request.ts';
import { within } from './within.ts';

/** A script that has begun, and what it is watched with. */
export interface Watched {
  readonly order: RunOrder;
  readonly script: ScriptProcess;
  readonly tree: ProcessTree;
  readonly outputs: readonly ScriptOutput[];
  readonly journal: FrameWriter;
  readonly stdout: StdoutWitness;
  readonly stop: StopRequest;
}

/** How the script ended, and what had to be ended with it. */
export interface WatchedEnd extends ProcessExit {
  readonly stoppedBy: StopReason | null;
  readonly leftBehind: number;
  readonly endedAt: Date;
}

/** A process that was KILLed is gone at once, unless it stands in an uninterruptible call. */
const KILLED_MS = 2000;
/** What is in a pipe when its last writer ended is at most a few MiB, read in no time. */
const LAST_OUTPUT_MS = 2000;
/** For a reader of the runner's stdout that has stopped reading. */
const CONGESTION_MS = 30_000;

/**
 * Stays with a script until it and all its processes have ended, and all of its output is read.
 *
 *   running ─┬ exit ─▶ drain: others may hold the output open for drainMs ─▶ TERM, grace, KILL to the rest ─┬▶ over
 *            └ deadline or signal ─▶ TERM, grace, KILL to all ──────────────────────────────────────────────┘
 */
export async function superviseScript(watched: Watched): Promise<WatchedEnd> {
  const { order, script, stop } = watched;
  if (order.deadlineMs !== null) stop.arm(order.deadlineMs);
  const exit = await Promise.race([script.exited, stop.asked.then(() => undefined)]);
  stop.disarm();
  const end = exit === undefined ? await stopAll(watched) : await endOthers(watched, exit);
  await lastOutput(watched);
  return end;
}

async function stopAll({ order, script, tree, journal, stop }: Watched): Promise<WatchedEnd> {
  journal.note(
    `${whyOf(order, stop.by)}: TERM to all processes of the script, and KILL after ${order.graceMs} ms`,
  );
  const { killed, left } = await tree.end(order.graceMs);
  if (left.length > 0)
    journal.note(`${counted(left.length)} of the script did not end by KILL: ${left.join(', ')}`);
  const exit = await within(script.exited, KILLED_MS);
  // Nobody knows how it ends that has not ended.
  const { exitCode, signal } = exit ?? { exitCode: null, signal: null };
  const leftBehind = [...killed].filter((pid) => pid !== script.pid).length;
  return { exitCode, signal, stoppedBy: stop.by, leftBehind, endedAt: new Date() };
}

function whyOf({ deadlineMs }: RunOrder, by: StopReason | null): string {
  if (by === 'deadline') return `the deadline of ${deadlineMs ?? 0} ms has passed`;
  return by === 'storage' ? 'the script cannot go on without its volume' : 'a stop was asked for';
}

async function endOthers(watched: Watched, exit: ProcessExit): Promise<WatchedEnd> {
  const { order, tree, journal, outputs, stop } = watched;
  const endedAt = new Date();
  await Promise.race([allEnded(outputs), delay(order.drainMs, undefined, { ref: false }), stop.asked]);
  const { met, left } = await tree.end(order.graceMs);
  const rest = left.length > 0 ? `, and ${left.join(', ')} did not end` : '';
  if (met.size > 0) journal.note(`the script left ${counted(met.size)} behind, which were ended${rest}`);
  return { ...exit, stoppedBy: null, leftBehind: met.size, endedAt };
}

async function lastOutput({ outputs, stdout, journal }: Watched): Promise<void> {
  if (stdout.isCongested) await within(stdout.drained(), CONGESTION_MS);
  if ((await within(allEnded(outputs), LAST_OUTPUT_MS)) !== undefined) return;
  outputs.forEach((output) => output.close());
  journal.note(
    'a process that could not be found holds the output of the script open: the rest of it is not kept',
  );
}

async function allEnded(outputs: readonly ScriptOutput[]): Promise<'ended'> {
  await Promise.all(outputs.map((output) => output.ended));
  return 'ended';
}

function counted(processes: number): string {
  return processes === 1 ? '1 process' : `${processes} processes`;
}
