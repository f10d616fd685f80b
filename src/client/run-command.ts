import { randomUUID } from 'node:crypto';
import { constants } from 'node:os';
import { buffer } from 'node:stream/consumers';
import { FAILURES } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';
import type { ScriptRequest } from '../protocol/script-request.ts';
import type { LongshoreClient, Outcome } from './client.ts';
import { localFile, localText } from './local-file.ts';
import { say, showLine, type Terminal } from './terminal.ts';

/** What `longshore run` was told. */
export interface RunArguments {
  readonly script?: string | undefined;
  readonly body?: string | undefined;
  readonly arguments: readonly string[];
  readonly package: readonly string[];
  readonly file: readonly string[];
  readonly var: readonly string[];
  readonly secret: readonly string[];
  readonly isolation?: string | undefined;
  readonly isolationTimeout?: number | undefined;
  readonly deadline?: number | undefined;
  readonly grace?: number | undefined;
  readonly ticket?: string | undefined;
  readonly keep?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** Calls `interrupted` for every ^C. */
export type Interrupts = (interrupted: () => void) => void;

const MAX_INLINE_BYTES = 1 << 20;

/**
 * Starts a script, shows its journal, and returns the exit code that the command leaves with: the script's own, 128
 * and the number of the signal that killed it, or that of the failure table.
 *
 * The first ^C cancels the script and waits for its end; the second leaves it to the agent.
 */
export async function runCommand(
  client: LongshoreClient,
  run: RunArguments,
  { terminal, interrupts }: { terminal: Terminal; interrupts: Interrupts },
): Promise<number> {
  const ticket = run.ticket ?? randomUUID();
  const request = await requestFor(run);
  const leaving = new AbortController();
  let cancelling: Promise<unknown> | undefined;
  interrupts(() => {
    if (cancelling) return leaving.abort();
    say(terminal, `cancelling ${ticket}; ^C again leaves it to the agent`);
    cancelling = client
      .cancel(ticket)
      .catch((error: unknown) => say(terminal, `cannot cancel: ${String(error)}`));
  });
  await client.start(ticket, request, leaving.signal);
  if (!run.json) say(terminal, `started ${ticket}`);
  const outcome = await showScript(
    client,
    { ticket, json: run.json ?? false, signal: leaving.signal },
    terminal,
  );
  if (!run.keep) await client.complete(ticket);
  return exitCodeFor(outcome);
}

/** Shows a script's journal to its end and its outcome; with `json` each piece of news as a line of JSON. */
export async function showScript(
  client: LongshoreClient,
  { ticket, json, signal }: { ticket: string; json: boolean; signal?: AbortSignal },
  terminal: Terminal,
): Promise<Outcome> {
  for await (const news of client.follow(ticket, 's0.a0', signal)) {
    if (json) terminal.out.write(`${JSON.stringify({ ticket, ...news })}\n`);
    else if (news.type === 'line') showLine(terminal, news.line);
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

async function requestFor(run: RunArguments): Promise<ScriptRequest> {
  const body = run.body ?? (run.script === undefined ? undefined : await localText(run.script));
  if (body === undefined)
    throw new Fault('REQUEST_INVALID', 'say what to run: a script file, or --body TEXT');
  return {
    language: 'bash',
    body,
    arguments: run.arguments,
    files: await filesFor(run.file),
    packages: run.package.map((text) => {
      const [id, version] = pairOf(text, '@', '--package takes ID@VERSION');
      return { id, version };
    }),
    variables: [...run.var.map(plainVariable), ...(await Promise.all(run.secret.map(secretVariable)))],
    ...(run.isolation !== undefined && { isolation: isolationFor(run.isolation, run.isolationTimeout) }),
    ...(run.deadline !== undefined && { deadlineSeconds: run.deadline }),
    ...(run.grace !== undefined && { graceSeconds: run.grace }),
  };
}

function isolationFor(
  name: string,
  timeoutSeconds: number | undefined,
): NonNullable<ScriptRequest['isolation']> {
  return { level: 'full', name, ...(timeoutSeconds !== undefined && { timeoutSeconds }) };
}

async function filesFor(named: readonly string[]): Promise<NonNullable<ScriptRequest['files']>> {
  const files: { path: string; content: string; encoding: 'base64' }[] = [];
  let total = 0;
  for (const text of named) {
    const [path, source] = pairOf(text, '=', '--file takes PATH=LOCALFILE');
    const file = await localFile(source);
    total += file.size;
    if (total > MAX_INLINE_BYTES) {
      const rule = `files given with --file may have ${MAX_INLINE_BYTES} bytes together; push ${source} as a package`;
      throw new Fault('BODY_TOO_LARGE', rule);
    }
    const content = (await buffer(file.open())).toString('base64');
    files.push({ path, content, encoding: 'base64' });
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

function pairOf(text: string, separator: string, rule: string): [string, string] {
  const at = text.indexOf(separator);
  if (at <= 0) throw new Fault('REQUEST_INVALID', `${rule}, not ${JSON.stringify(text)}`);
  return [text.slice(0, at), text.slice(at + 1)];
}
