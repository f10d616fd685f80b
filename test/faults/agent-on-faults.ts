import { globSync, readFileSync } from 'node:fs';
import { AgentProcess, type AgentOptions, type Answer } from '../harness/agent-process.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';
import { FaultyMount } from './faulty-mount.ts';

interface Teardown {
  teardown: (work: () => void | Promise<void>) => void;
}

/** A real agent whose volume does what the test says. */
export interface AgentOnFaults {
  readonly mount: FaultyMount;
  readonly agent: AgentProcess;
  readonly options: AgentOptions;
  /** A folder on the local disk, for what scripts of the test tell each other. */
  readonly folder: string;
}

/** Deadlines that a test can wait for; how long they are in earnest is no matter of what happens at them. */
const FLAGS: Readonly<Record<string, number>> = {
  'volume-deadline-ms': 3000,
  'volume-slow-deadline-ms': 6000,
};

/** `settings` are keys as on the command line. Nothing of it runs or is mounted after the test. */
export async function agentOnFaults(
  t: Teardown,
  settings: Readonly<Record<string, number>> = {},
): Promise<AgentOnFaults> {
  const folder = temporaryFolder(t, 'longshore-faults');
  t.teardown(() => endProcessesOf(folder));
  const mount = await FaultyMount.start(t, folder);
  const flags = Object.entries({ ...FLAGS, ...settings }).flatMap(([key, value]) => [
    `--${key}`,
    String(value),
  ]);
  const options = { volume: mount.volume, state: `${folder}/state`, flags };
  const agent = await AgentProcess.start(t, options);
  // First of all: a process that hangs on the volume cannot be ended otherwise.
  t.teardown(async () => {
    mount.thaw();
    if (mount.isServed) await mount.heal();
  });
  return { mount, agent, options, folder };
}

/** Runners and scripts outlive their agent, which is theirs to do in earnest. */
async function endProcessesOf(folder: string): Promise<void> {
  for (const pid of processesOf(folder)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  await eventually(() => processesOf(folder).length === 0);
}

/** What still runs of the scripts of an agent whose places are below `folder`: runners, and all that they started. */
export function scriptProcessesOf(folder: string): number[] {
  return processesOf(folder).filter((pid) => textOf(`/proc/${pid}/environ`).includes('LONGSHORE_TICKET='));
}

/** Processes whose command line or environment names `folder`; a zombie has neither. */
function processesOf(folder: string): number[] {
  return globSync('/proc/[0-9]*/cmdline')
    .filter(
      (path) => textOf(path).includes(folder) || textOf(path.replace('cmdline', 'environ')).includes(folder),
    )
    .map((path) => Number(path.split('/')[2]))
    .filter((pid) => pid !== process.pid);
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // The process ended between the listing and the look.
    return '';
  }
}

export const bash = (body: string, more: object = {}): object => ({ language: 'bash', body, ...more });

/** Starts a script and waits until it is running: its own line `up` is in the journal. */
export async function running(
  agent: AgentProcess,
  ticket: string,
  body: string,
  more: object = {},
): Promise<void> {
  const script = bash(`echo up; ${body}`, more);
  const { status, text } = await agent.call('PUT', `/v1/scripts/${ticket}`, script);
  if (status !== 200) throw new Error(`${ticket} was not started: ${status} ${text}`);
  const isUp = async (): Promise<boolean> =>
    (await agent.call('GET', `/v1/scripts/${ticket}`)).text.includes('"up"');
  await eventually(isUp, 60_000);
}

/** Follows a script to its end, as a server does that was told to come later. */
export async function followed(agent: AgentProcess, ticket: string): Promise<Followed> {
  let found: Followed | undefined;
  await eventually(async () => {
    found = await agent.follow(ticket).catch((error: unknown) => {
      if (error instanceof Error && error.message.includes('answered 503')) return undefined;
      throw error;
    });
    return found !== undefined;
  }, 120_000);
  if (found === undefined) throw new TypeError(`${ticket} has no end`);
  return found;
}
type Followed = Awaited<ReturnType<AgentProcess['follow']>>;

/** What must answer at once whatever the volume does; the deadline is that of a person, not of a clock. */
export async function answersBeside(agent: AgentProcess): Promise<Answer[]> {
  const answers = ['/livez', '/v1/capabilities', '/v1/failures'].map((path) => agent.call('GET', path));
  const scraped = fetch(agent.metrics, { signal: AbortSignal.timeout(BESIDE_MS) });
  const [, ...all] = await Promise.all([
    scraped.then((one) => one.text()),
    ...answers.map((one) => soon(one)),
  ]);
  return all;
}
const BESIDE_MS = 5000;

/** @throws {Error} where `work` takes longer than nothing that hangs would. */
export async function soon<T>(work: Promise<T>, ms = BESIDE_MS): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** What the agent believes of its mount. */
export async function verdictOf(agent: AgentProcess): Promise<string> {
  const { json } = await soon(agent.call('GET', '/v1/mount'));
  return String(json['verdict']);
}

/** Waits until the agent believes `verdict`. */
export async function believes(agent: AgentProcess, verdict: string, deadlineMs = 60_000): Promise<void> {
  await eventually(async () => (await verdictOf(agent)) === verdict, deadlineMs);
}

/** The kernel's wait of every thread of a process; `D` is a call that no signal reaches. */
export function threadsOf(pid: number): { readonly state: string; readonly name: string }[] {
  return globSync(`/proc/${pid}/task/*/stat`).flatMap((path) => {
    const [, name = '', state = ''] = /\((.*)\) (\S)/.exec(readFileSync(path, 'latin1')) ?? [];
    return [{ name, state }];
  });
}
