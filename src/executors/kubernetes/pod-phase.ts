import type { V1Pod } from '@kubernetes/client-node';
import { SCRIPT_CONTAINER } from './pod-names.ts';
import type { PodEvent } from './pod-event.ts';
import { conditionIn, podFactsOf } from './pod-facts.ts';

const PHASES = ['scheduled', 'initialized', 'pulled', 'started', 'ended'] as const;

/** A stretch of a pod's way, named by what it leads to. */
export interface PodPhase {
  readonly phase: (typeof PHASES)[number];
  /** Since the milestone before it that is known, the first one since the pod was created. */
  readonly seconds: number;
}

/**
 * Says how long the stretches of a pod's way took, as far as it has come, each from the one before it that is known.
 *
 * The API keeps whole seconds, so each is right to a second only, except `pulled`, which the kubelet measures to the
 * millisecond and is 0 for an image that the node had.
 */
export function podPhasesOf(pod: V1Pod, events: readonly PodEvent[]): PodPhase[] {
  const facts = podFactsOf(pod);
  const pull = pullOf(events.filter(({ podUid }) => podUid === '' || podUid === facts.uid));
  const sinceTrue = (type: string): number | undefined => {
    const condition = conditionIn(facts, type);
    return condition?.status === 'True' ? condition.sinceMs : undefined;
  };
  const milestones = {
    scheduled: sinceTrue('PodScheduled'),
    initialized: sinceTrue('Initialized'),
    pulled: pull?.atMs,
    started: facts.script?.startedMs,
    ended: facts.script?.endedMs,
  };
  let beforeMs = facts.createdMs;
  return PHASES.flatMap((phase): PodPhase[] => {
    const atMs = milestones[phase];
    if (atMs === undefined || beforeMs === undefined) return [];
    const seconds = phase === 'pulled' && pull ? pull.seconds : Math.max(0, atMs - beforeMs) / 1000;
    beforeMs = Math.max(beforeMs, atMs);
    return [{ phase, seconds }];
  });
}

/** When the image of the script was there and how long its pull took, waiting for other pulls included. */
function pullOf(
  events: readonly PodEvent[],
): { readonly atMs: number | undefined; readonly seconds: number } | undefined {
  const pulled = events.findLast(
    ({ reason, field }) => reason === 'Pulled' && field === `spec.containers{${SCRIPT_CONTAINER}}`,
  );
  if (pulled === undefined) return undefined;
  const [, alone, waiting] = /\bin (\S+)(?: \((\S+) including waiting\))?/.exec(pulled.message) ?? [];
  return { atMs: pulled.lastMs, seconds: secondsOf(waiting ?? alone ?? '') ?? 0 };
}

const UNITS: Readonly<Record<string, number>> = {
  h: 3600,
  m: 60,
  s: 1,
  ms: 1e-3,
  µs: 1e-6,
  us: 1e-6,
  ns: 1e-9,
};

/** Reads a duration as Go writes it (`1m2.345s`) in seconds; undefined where it is none. */
export function secondsOf(duration: string): number | undefined {
  if (duration.length > 40 || !/^(\d+(\.\d+)?(h|ms|m|s|µs|us|ns))+$/.test(duration)) return undefined;
  return [...duration.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|µs|us|ns)/g)].reduce(
    (sum, [, number, unit = '']) => sum + Number(number) * (UNITS[unit] ?? 0),
    0,
  );
}
