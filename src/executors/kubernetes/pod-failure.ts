import { constants } from 'node:os';
import type { V1Pod } from '@kubernetes/client-node';
import type { Trouble } from '../executor.ts';
import { departureOf, doubtOf } from './pod-departure.ts';
import { endOf, isExitCodeTrue } from './pod-end.ts';
import type { PodEvent } from './pod-event.ts';
import { conditionIn, podFactsOf, type PodFacts } from './pod-facts.ts';
import { hindranceOf } from './pod-hindrance.ts';
import { quoted, troubleFrom, type Finding, type PodCase } from './pod-trouble.ts';

/** What the status of a pod means for its script; success is not among it, since only an end record tells that. */
export type PodView =
  | { readonly state: 'pending'; readonly trouble?: Trouble }
  | { readonly state: 'running'; readonly trouble?: Trouble }
  | {
      readonly state: 'ended';
      /** That of the container; null where it is not known. */
      readonly exitCode: number | null;
      readonly signal: string | null;
      /** Why it ended, where that was not its own doing. */
      readonly failure?: Trouble;
    };

/**
 * How long a kubelet, and the node controller with it, may miss what the API server says when that was away: they pause
 * for up to 30 s between two attempts, and by chance for twice as long. Source: client-go tools/cache/reflector.go.
 */
const DEAF_KUBELET_MS = 60_000;

/**
 * Says what the status of a pod means for its script.
 *
 * `pod` is as the API gives it, its times texts or dates; `events` are those of its name, in any order. Never fails,
 * whatever the cluster writes there. A node that is lost is final when the grace of its pod is over at `nowMs` (ms since
 * 1970): a kubelet that still lived would have ended the pod by then and said so.
 */
export function viewOf(pod: V1Pod, events: readonly PodEvent[], nowMs: number): PodView {
  const known = caseOf(pod, events);
  const { facts } = known;
  if (hasEnded(facts)) return endedView(known);
  const trouble = facts.script?.state === 'running' ? whileRunning(known, nowMs) : whilePending(known);
  const state = facts.script?.state === 'running' || facts.phase === 'Running' ? 'running' : 'pending';
  return trouble ? { state, trouble: troubleFrom(known, trouble) } : { state };
}

/**
 * Says what became of a pod whose object is gone, from how it was seen last, if it was, and from what was said about it.
 */
export function goneView(last: V1Pod | undefined, events: readonly PodEvent[]): Trouble {
  const known = caseOf(last, events);
  const ended = hasEnded(known.facts) ? endOf(known) : undefined;
  const seen = ended ?? departureOf(known) ?? doubtOf(known);
  const finding = seen ?? departureIn(known) ?? vanished(known.facts);
  return troubleFrom(known, { ...finding, final: true });
}

function caseOf(pod: V1Pod | undefined, events: readonly PodEvent[]): PodCase {
  const facts = podFactsOf(pod);
  const own = events.filter(({ podUid }) => podUid === '' || facts.uid === '' || podUid === facts.uid);
  return { facts, events: own.toSorted((a, b) => (a.lastMs ?? 0) - (b.lastMs ?? 0)) };
}

/** A container that has ended is not started again, although others in its pod may still run. */
function hasEnded({ phase, script }: PodFacts): boolean {
  return phase === 'Succeeded' || phase === 'Failed' || script?.state === 'terminated';
}

function endedView(known: PodCase): PodView {
  const { script } = known.facts;
  const seen = script && isExitCodeTrue(script) ? script : undefined;
  const end = { exitCode: seen?.exitCode ?? null, signal: signalName(seen?.signal) };
  // A runner that was told to go leaves with 0, and then the kubelet writes no reason into the status.
  const finding = endOf(known) ?? departureIn(known);
  return finding
    ? {
        state: 'ended',
        ...end,
        failure: troubleFrom(known, { sinceMs: script?.endedMs, ...finding, final: true }),
      }
    : { state: 'ended', ...end };
}

function whileRunning(known: PodCase, nowMs: number): Finding | undefined {
  const departure = departureOf(known);
  if (departure === undefined) return doubtOf(known);
  return { ...departure, final: departure.code === 'CLUSTER_NODE_LOST' && isGivenUp(known.facts, nowMs) };
}

/**
 * Whether a lost node has had its time. The node controller gives a pod up when it has waited for the node already; a
 * deletion by anybody else may meet one that is well, and only has not been told since the API server was away.
 */
function isGivenUp(facts: PodFacts, nowMs: number): boolean {
  const { graceOverMs = Infinity } = facts;
  const isByController = conditionIn(facts, 'DisruptionTarget')?.status === 'True';
  return nowMs >= graceOverMs + (isByController ? 0 : DEAF_KUBELET_MS);
}

/** A pod that is taken away before its script began never begins. */
function whilePending(known: PodCase): Finding | undefined {
  const departure = departureOf(known);
  return departure ? { ...departure, final: true } : (hindranceOf(known) ?? doubtOf(known));
}

/** Who said that the pod is taken away, where its object was not seen to say so. */
const DEPARTURES: Readonly<Record<string, Pick<Finding, 'code' | 'says'>>> = {
  Preempted: {
    code: 'CLUSTER_PREEMPTED',
    says: 'the scheduler took the pod away for one of higher priority',
  },
  Preempting: { code: 'CLUSTER_PREEMPTED', says: 'the node ended the pod for a critical one' },
  Evicted: { code: 'CLUSTER_EVICTED', says: 'the node evicted the pod' },
  TaintManagerEviction: { code: 'CLUSTER_EVICTED', says: 'a taint of its node drove the pod away' },
  NodeNotReady: {
    code: 'CLUSTER_NODE_LOST',
    says: 'the node of the pod did not report any more, and the pod is gone',
  },
};

function departureIn({ facts, events }: PodCase): Finding | undefined {
  const isNodeWell = conditionIn(facts, 'Ready')?.status === 'True';
  const told = events.filter(
    ({ reason, message }) =>
      Object.hasOwn(DEPARTURES, reason) &&
      !message.startsWith('Cancelling deletion') &&
      !(reason === 'NodeNotReady' && isNodeWell),
  );
  // A lost node is told first, and is why its taint drove the pod away.
  const event = told.find(({ reason }) => reason === 'NodeNotReady') ?? told.at(-1);
  const known = event && DEPARTURES[event.reason];
  return known && { code: known.code, says: `${known.says}${quoted(event.message)}`, sinceMs: event.firstMs };
}

function vanished({ script, node }: PodFacts): Finding {
  const place = node === '' ? '' : ` on node ${node}`;
  const says =
    script?.state === 'terminated'
      ? `the pod was deleted after its container had ended with exit code ${script.exitCode ?? 'unknown'}`
      : `the pod${place} is gone, and nothing in the cluster says who deleted it`;
  return { code: 'CLUSTER_POD_DELETED', says };
}

function signalName(number: number | undefined): string | null {
  const known = Object.entries(constants.signals).find(([, value]) => value === number);
  return number === undefined || number === 0 ? null : (known?.[0] ?? `signal ${number}`);
}
