/** What the suites of provoked failures share: a script that a cluster fails, and all that must hold then. */
import { performance } from 'node:perf_hooks';
import type { Test } from 'tap';
import { podNameFor } from '../../../src/executors/kubernetes/pod-names.ts';
import type { FailureCode } from '../../../src/protocol/failure-table.ts';
import type { JournalLine, LineStream, Outcome, ScriptStatus } from '../../../src/protocol/script-status.ts';
import type { AgentProcess } from '../../harness/agent-process.ts';
import { eventually } from '../../harness/eventually.ts';
import type { AgentGround } from './agent-ground.ts';
import { keyOf, put } from './steady-script.ts';

/** How a provoked script must have ended. */
export interface Expected {
  readonly code: FailureCode;
  readonly says: RegExp;
  /** What the cluster itself said, in the evidence. */
  readonly raw: RegExp;
  /** What the journal says of the pod. */
  readonly told: RegExp;
  /** From the look at it. @default 120 s */
  readonly withinMs?: number;
}

export interface Ended {
  readonly outcome: Outcome;
  readonly lines: readonly JournalLine[];
}

/** Starts a script, which without a body of its own would only say that it ran. */
export async function start(agent: AgentProcess, ticket: string, script: object = {}): Promise<void> {
  await put(agent, ticket, { body: 'echo ran', graceSeconds: 1, ...script });
}

/** Waits for the end of a script, at most `withinMs`. */
export async function endOf(agent: AgentProcess, ticket: string, withinMs = 120_000): Promise<Ended> {
  let last: ScriptStatus | undefined;
  const hasEnded = async (): Promise<boolean> => {
    const { json } = await agent.call('GET', `/v1/scripts/${ticket}?wait=5`);
    // Checked against the schema in test/api; here it is read.
    last = json as unknown as ScriptStatus;
    return last.outcome !== null;
  };
  const from = performance.now();
  await eventually(hasEnded, withinMs).catch(() => {
    const words = last?.journal.lines.map(({ stream, text }) => `${stream}: ${text}`).join('\n') ?? 'nothing';
    const seconds = Math.round((performance.now() - from) / 1000);
    throw new Error(`${ticket} is ${last?.state} after ${seconds} s:\n${words}\n${agent.log.join('\n')}`);
  });
  const { status, lines } = await agent.follow(ticket);
  if (status.outcome === null) throw new Error(`${ticket} had an outcome and has none`);
  return { outcome: status.outcome, lines };
}

/** Waits until a script has written a line. */
export async function saysLine(agent: AgentProcess, ticket: string, line: string): Promise<void> {
  await eventually(async () => {
    const { json } = await agent.call('GET', `/v1/scripts/${ticket}`);
    const { lines } = json['journal'] as { lines: readonly JournalLine[] };
    return textsOf(lines, 'stdout').includes(line);
  }, 90_000);
}

export function textsOf(lines: readonly JournalLine[], stream: LineStream): string[] {
  return lines.filter((line) => line.stream === stream).map(({ text }) => text);
}

/** Checks how a script ended: its code, its sentence, the words of the cluster, the lines of its pod; returns all. */
export async function endsAs(
  t: Test,
  agent: AgentProcess,
  ticket: string,
  expected: Expected,
): Promise<Ended> {
  const end = await endOf(agent, ticket, expected.withinMs);
  t.equal(end.outcome.code, expected.code);
  t.match(end.outcome.says, expected.says, 'a sentence');
  t.match(JSON.stringify(end.outcome.evidence), expected.raw, 'the words of the cluster');
  t.match(textsOf(end.lines, 'pod').join('\n'), expected.told, 'lines of its pod');
  return end;
}

/** The same for a script that must never have run; its pod, if there was one, goes by itself. */
export async function neverRuns(
  t: Test,
  { ground, agent }: { readonly ground: AgentGround; readonly agent: AgentProcess },
  ticket: string,
  expected: Expected,
): Promise<void> {
  const { outcome, lines } = await endsAs(t, agent, ticket, expected);
  t.match(outcome, { exitCode: null, signal: null, startedAt: null }, 'nothing ran');
  t.same(textsOf(lines, 'stdout'), []);
  await eventually(async () => !(await ground.names('pods')).includes(podOf(ticket)), 60_000);
}

/** Completes scripts, after which nothing of them is left in the cluster. */
export async function complete(
  t: Test,
  { ground, agent }: { readonly ground: AgentGround; readonly agent: AgentProcess },
  tickets: readonly string[],
): Promise<void> {
  for (const ticket of tickets)
    t.equal((await agent.call('DELETE', `/v1/scripts/${ticket}`)).status, 204, ticket);
  for (const kind of ['pods', 'secrets']) {
    const ours = async (): Promise<string[]> =>
      (await ground.names(kind)).filter((name) => tickets.some((ticket) => name.startsWith(podOf(ticket))));
    await eventually(async () => (await ours()).length === 0, 90_000);
  }
}

/** The name of the pod of a ticket of the agent's own token. */
export function podOf(ticket: string): string {
  return podNameFor(keyOf(ticket));
}

/** A pod of somebody else that passes pod security `restricted` and stays. */
export function strangerPod(namespace: string, name: string, more: StrangerOptions = {}): object {
  const { annotations = {}, resources = {}, spec = {} } = more;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, annotations },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 0,
      securityContext: { runAsNonRoot: true, runAsUser: 12345, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'stranger',
          image: 'busybox:stable',
          imagePullPolicy: 'Never',
          command: ['sleep', '3600'],
          resources,
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
      ...spec,
    },
  };
}

interface StrangerOptions {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly resources?: object;
  readonly spec?: object;
}
