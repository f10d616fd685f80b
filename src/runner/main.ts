import { writeSync } from 'node:fs';
import { Fault } from '../protocol/fault.ts';
import type { RunOrder } from '../protocol/run-order.ts';
import { monotonicMs } from './clock.ts';
import { readRunOrder, readRunOrderFile } from './run-order-input.ts';
import { ownsContainer } from './own-container.ts';
import { prepareScript } from './script-preparation.ts';
import { StopRequest } from './stop-request.ts';

/*
 * The program of a script pod; without packages, one file when built.
 *
 *   runner.cjs < order.json       runs one script
 *   runner.cjs --order FILE       the same, for an order in the file of a Secret
 *   runner.cjs --spare            the same, for an order that comes later: loads everything before it waits
 *   runner.cjs --clear COOKIE     KILLs every process that carries the cookie
 *   runner.cjs --remove FOLDER    removes the copy that a script worked on
 *   runner.cjs --install FOLDER   copies itself and what starts it into the folder
 *
 * Exit codes: 0 an end record was written to stdout, or another runner has the script, or nothing is left to clear or
 * remove, or it is installed; 70 neither (EX_SOFTWARE). How the script ended stands in the end record alone.
 *
 * A start is quick because bash starts beside it: it is spawned first, and what is not needed for that (node:crypto
 * alone takes 4 ms) is loaded while it comes up.
 */
const OK = 0;
const FAILED = 70;

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;

/** How long calls that are in the kernel may take to return before this process does without its exit code. */
const LEAVE_MS = 200;
const LEAVE_POLL_MS = 5;

async function main(): Promise<void> {
  // Should the event loop run empty without an answer, that is no success.
  process.exitCode = FAILED;
  const [mode, value] = process.argv.slice(2);
  if (mode === '--clear' && value) process.exit(await clear(value));
  if (mode === '--remove' && value) process.exit(await remove(value));
  if (mode === '--install' && value) process.exit(await install(value));
  if (mode === '--spare') await rehearse();
  const order = mode === '--order' && value ? orderIn(value) : readRunOrder(STDIN);
  // The agent died while it sent it: nothing was claimed, and nothing may run.
  if (order === undefined) process.exit(say('no whole order came'));
  await run(order);
}

/** An order that cannot be read is none; why is among the last words. */
function orderIn(path: string): RunOrder | undefined {
  try {
    return readRunOrderFile(path);
  } catch (error) {
    say(String(error));
    return undefined;
  }
}

async function install(target: string): Promise<number> {
  const { installInto } = await import('./installation.ts');
  try {
    installInto(target, process.argv[1] ?? '');
    return OK;
  } catch (error) {
    return say(`could not install itself into ${target}: ${String(error)}`);
  }
}

async function rehearse(): Promise<void> {
  const rehearsal = await import('./rehearsal.ts');
  // What fails here fails again when it counts, and is told then.
  await rehearsal.rehearse(process.env).catch(() => undefined);
}

async function run(order: RunOrder): Promise<void> {
  const stop = new StopRequest();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop.ask('signal'));
  const crashed = crash();
  const preparing = prepareScript(order, process.env);
  // It is told by the end record.
  preparing.catch(() => undefined);

  const { runScript } = await import('./run.ts');
  const { openStdoutWitness } = await import('./stdout-witness.ts');
  const { VolumeFiles } = await import('./volume-files.ts');
  const files = new VolumeFiles({ deadlineMs: order.volumeDeadlineMs });
  let code = OK;
  try {
    const stdout = openStdoutWitness(STDOUT);
    const host = { files, stop, preparing, crashed, stdout, wholeContainer: ownsContainer() };
    if ((await runScript(order, host)) === 'unrecorded') code = FAILED;
  } catch (error) {
    code = say(error instanceof Fault ? `${error.code}: ${error.message}` : String(error));
  }
  // exit(3) waits for threads that stand in a call, for as long as a mount hangs.
  const until = monotonicMs() + LEAVE_MS;
  while (files.inside > 0 && monotonicMs() < until)
    await new Promise((next) => setTimeout(next, LEAVE_POLL_MS));
  if (files.inside === 0) process.exit(code);
  process.kill(process.pid, 'SIGKILL');
  // The first process of a container cannot kill itself; the trap instruction at the end of abort(3) ends it.
  process.abort();
}

async function clear(cookie: string): Promise<number> {
  const { ProcessTree } = await import('./process-tree.ts');
  const { left } = await new ProcessTree({ cookie, withPreludes: true }).kill();
  return left.length === 0 ? OK : FAILED;
}

async function remove(folder: string): Promise<number> {
  const { removeLocalTree } = await import('./local-removal.ts');
  try {
    await removeLocalTree(folder);
    return OK;
  } catch (error) {
    return say(`could not remove ${folder}: ${String(error)}`);
  }
}

/** A promise that rejects with the first error that nothing caught, or when there is nothing left to wait for. */
function crash(): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  process.on('uncaughtException', reject);
  process.once('beforeExit', () => reject(new Error('there is nothing left to wait for')));
  promise.catch(() => undefined);
  return promise;
}

/** Last words go to where the agent finds what is no frame. */
function say(sentence: string): typeof FAILED {
  writeSync(STDERR, `longshore runner: ${sentence}\n`);
  return FAILED;
}

void main();
