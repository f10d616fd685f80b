import { randomUUID } from 'node:crypto';
import { constants } from 'node:os';
import { buffer } from 'node:stream/consumers';
import { FAILURES } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';
import { STORAGES, type ScriptStorage } from '../protocol/run-order.ts';
import type { ScriptFile, ScriptRequest } from '../protocol/script-request.ts';
import type { LongshoreClient, Outcome } from './client.ts';
import { localFile, localText } from './local-file.ts';
import { say, showJson, showLine, type Terminal } from './terminal.ts';

/** What `longshore run` was told. */
export interface RunArguments {
  readonly script?: string | undefined;
  readonly body?: string | undefined;
  readonly arguments: readonly string[];
  readonly package: readonly string[];
  readonly file: readonly string[];
  readonly var: readonly string[];
  readonly secret: readonly string[];
  readonly secretEnv: readonly string[];
  /** Where the script works; see STORAGES. */
  readonly storage?: string | undefined;
  readonly isolation?: string | undefined;
  readonly isolationTimeout?: number | undefined;
  readonly deadline?: number | undefined;
  readonly grace?: number | undefined;
  readonly ticket?: string | undefined;
  readonly keep?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** What a run takes from the process around it. */
export interface RunSurroundings {
  readonly terminal: Terminal;
  /** Calls `interrupted` for every ^C. */
  readonly interrupts: (interrupted: () => void) => void;
  readonly environmentValue: (name: string) => string | undefined;
}

/** Files beyond it are pushed as blobs, which are there already when the run is repeated. */
const MAX_INLINE_BYTES = 1 << 18;
/** What a shell says of a command that ^C ended. */
const INTERRUPTED = 130;

/**
 * Starts a script, shows its journal, and returns the exit code that the command leaves with: the script's own, 128
 * and the number of the signal that killed it, or that of the failure table.
 *
 * The first ^C cancels the script and waits for its end; the second leaves it to the agent.
 */
export async function runCommand(
  client: LongshoreClient,
  run: RunArguments,
  { terminal, interrupts, environmentValue }: RunSurroundings,
): Promise<number> {
  const ticket = run.ticket ?? randomUUID();
  const request = await requestFor(client, run, environmentValue);
  const leaving = new AbortController();
  let cancelling: Promise<unknown> | undefined;
  interrupts(() => {
    if (cancelling) return leaving.abort();
    say(terminal, `cancelling ${ticket}; ^C again leaves it to the agent`);
    cancelling = client
      .cancel(ticket, leaving.signal)
      .catch((error: unknown) => say(terminal, `cannot cancel: ${String(error)}`));
  });
  try {
    const { signal } = leaving;
    await client.start(ticket, request, signal);
    if (!run.json) say(terminal, `started ${ticket}`);
    const outcome = await showScript(client, { ticket, json: run.json ?? false, signal }, terminal);
    if (!run.keep) await client.complete(ticket);
    return exitCodeFor(outcome);
  } catch (error) {
    // Leaving ends the call that waits, with an error of that call.
    if (!leaving.signal.aborted) throw error;
    say(terminal, `left ${ticket} to the agent; longshore logs --follow ${ticket} finds it`);
    return INTERRUPTED;
  }
}

/** Shows a script's journal to its end and its outcome; with `json` each piece of news as a line of JSON. */
export async function showScript(
  client: LongshoreClient,
  { ticket, json, signal }: { ticket: string; json: boolean; signal?: AbortSignal },
  terminal: Terminal,
): Promise<Outcome> {
  for await (const news of client.follow(ticket, 's0.a0', signal)) {
    if (json) await showJson(terminal, { ticket, ...news });
    else if (news.type === 'line') await showLine(terminal, news.line);
    if (news.type !== 'outcome') continue;
    if (!json) say(terminal, `${ticket}: ${news.outcome.code}: ${news.outcome.says}`);
    return news.outcome;
  }
  throw new Fault('AGENT_UNREACHABLE', `the journal of ${ticket} ended without an outcome`);
}

/** The exit code that tells an outcome. */
export function exitCodeFor({ code, exitCode, signal }: Outcome): number {
  if (code === 'SUCCEEDED' || code === 'SCRIPT_FAILED') return exitCode ?? FAILURES[code].exit;
  if (code === 'SCRIPT_KILLED' && signal !== null) {
    const number = Object.entries(constants.signals).find(([name]) => name === signal)?.[1];
    return number === undefined ? FAILURES[code].exit : 128 + number;
  }
  return FAILURES[code].exit;
}

async function requestFor(
  client: LongshoreClient,
  run: RunArguments,
  environmentValue: RunSurroundings['environmentValue'],
): Promise<ScriptRequest> {
  const body = run.body ?? (run.script === undefined ? undefined : await localText(run.script));
  if (body === undefined)
    throw new Fault('REQUEST_INVALID', 'say what to run: a script file, or --body TEXT');
  return {
    language: 'bash',
    body,
    arguments: run.arguments,
    files: await filesFor(client, run.file),
    packages: run.package.map((text) => {
      const [id, version] = pairOf(text, '@', '--package takes ID@VERSION');
      return { id, version };
    }),
    variables: [
      ...run.var.map(plainVariable),
      ...(await Promise.all(run.secret.map(secretVariable))),
      ...run.secretEnv.map((text) => secretFrom(text, environmentValue)),
    ],
    ...(run.storage !== undefined && { storage: storageFor(run.storage) }),
    ...(run.isolation !== undefined && { isolation: isolationFor(run.isolation, run.isolationTimeout) }),
    ...(run.deadline !== undefined && { deadlineSeconds: run.deadline }),
    ...(run.grace !== undefined && { graceSeconds: run.grace }),
  };
}

function storageFor(text: string): ScriptStorage {
  const storage = STORAGES.find((one) => one === text);
  if (storage !== undefined) return storage;
  throw new Fault('REQUEST_INVALID', `--storage takes ${STORAGES.join(' or ')}, not ${text}`);
}

function isolationFor(
  name: string,
  timeoutSeconds: number | undefined,
): NonNullable<ScriptRequest['isolation']> {
  return { level: 'full', name, ...(timeoutSeconds !== undefined && { timeoutSeconds }) };
}

async function filesFor(client: LongshoreClient, named: readonly string[]): Promise<ScriptFile[]> {
  const files: ScriptFile[] = [];
  let inlineBytes = 0;
  for (const text of named) {
    const [path, source] = pairOf(text, '=', '--file takes PATH=LOCALFILE');
    const file = await localFile(source);
    if (inlineBytes + file.size > MAX_INLINE_BYTES) {
      await client.pushBlob(file);
      files.push({ path, digest: `sha256:${file.digest}` });
    } else {
      inlineBytes += file.size;
      files.push({ path, content: (await buffer(file.open())).toString('base64'), encoding: 'base64' });
    }
  }
  return files;
}

function plainVariable(text: string): { name: string; value: string } {
  const [name, value] = pairOf(text, '=', '--var takes NAME=VALUE');
  return { name, value };
}

/** From a file and not from the command line, which every user of the machine can read. */
async function secretVariable(text: string): Promise<{ name: string; value: string; sensitive: boolean }> {
  const [name, file] = pairOf(text, '=', '--secret takes NAME=FILE');
  return { name, value: (await localText(file)).replace(/\r?\n$/, ''), sensitive: true };
}

/** NAME, or NAME=VARIABLE where the variable of the environment is called otherwise. */
function secretFrom(
  text: string,
  environmentValue: RunSurroundings['environmentValue'],
): { name: string; value: string; sensitive: boolean } {
  const [name, variable] = text.includes('=')
    ? pairOf(text, '=', '--secret-env takes NAME=VARIABLE')
    : [text, text];
  const value = environmentValue(variable);
  if (value === undefined)
    throw new Fault('REQUEST_INVALID', `--secret-env ${text}: the environment has no ${variable}`);
  return { name, value, sensitive: true };
}

function pairOf(text: string, separator: string, rule: string): [string, string] {
  const at = text.indexOf(separator);
  if (at <= 0) throw new Fault('REQUEST_INVALID', `${rule}, not ${JSON.stringify(text)}`);
  return [text.slice(0, at), text.slice(at + 1)];
}
