import { listOf, membersOf, momentOf, numberOf, textOf } from './loose-json.ts';
import { SCRIPT_CONTAINER } from './pod-names.ts';

/** What the object of a pod says, as far as a script is concerned; texts are empty where it says nothing. */
export interface PodFacts {
  readonly name: string;
  readonly uid: string;
  readonly node: string;
  readonly phase: string;
  readonly reason: string;
  readonly message: string;
  readonly createdMs: number | undefined;
  /** When the kubelet took the pod. */
  readonly acceptedMs: number | undefined;
  /** When it was asked to go. */
  readonly deletedMs: number | undefined;
  /** When its grace ends: a kubelet that lives has ended it by then. */
  readonly graceOverMs: number | undefined;
  readonly conditions: readonly ConditionFacts[];
  /** The container of the runner and its script. */
  readonly script: ContainerFacts | undefined;
  readonly initContainers: readonly ContainerFacts[];
  readonly memoryLimit: string;
}

export interface ConditionFacts {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly sinceMs: number | undefined;
}

export interface ContainerFacts {
  readonly name: string;
  readonly image: string;
  readonly state: 'waiting' | 'running' | 'terminated' | 'unknown';
  readonly reason: string;
  readonly message: string;
  readonly exitCode: number | undefined;
  readonly signal: number | undefined;
  readonly startedMs: number | undefined;
  readonly endedMs: number | undefined;
  readonly restarts: number;
  /** Why the container before this one ended, where there was one. */
  readonly lastReason: string;
  /** A runtime has made it once: it may have run, also where the status has forgotten when. */
  readonly wasMade: boolean;
}

const MAX_CONTAINERS = 8;
const MAX_CONDITIONS = 12;

/** Reads a pod as the API gives it; never fails, whatever it gets. */
export function podFactsOf(pod: unknown): PodFacts {
  const { metadata, spec, status } = membersOf(pod);
  const { name, uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds } = membersOf(metadata);
  const { nodeName, containers } = membersOf(spec);
  const { phase, reason, message, startTime, conditions, containerStatuses, initContainerStatuses } =
    membersOf(status);
  // The API server writes the end of the grace into the timestamp, not the time of the request.
  const graceOverMs = momentOf(deletionTimestamp);
  const graceMs = (numberOf(deletionGracePeriodSeconds) ?? 0) * 1000;
  return {
    name: textOf(name),
    uid: textOf(uid),
    node: textOf(nodeName),
    phase: textOf(phase),
    reason: textOf(reason),
    message: textOf(message),
    createdMs: momentOf(creationTimestamp),
    acceptedMs: momentOf(startTime),
    deletedMs: graceOverMs === undefined ? undefined : graceOverMs - graceMs,
    graceOverMs,
    conditions: listOf(conditions).slice(0, MAX_CONDITIONS).map(conditionOf),
    script: containersOf(containerStatuses).find((one) => one.name === SCRIPT_CONTAINER),
    initContainers: containersOf(initContainerStatuses),
    memoryLimit: memoryLimitOf(containers),
  };
}

function conditionOf(value: unknown): ConditionFacts {
  const { type, status, reason, message, lastTransitionTime } = membersOf(value);
  return {
    type: textOf(type),
    status: textOf(status),
    reason: textOf(reason),
    message: textOf(message),
    sinceMs: momentOf(lastTransitionTime),
  };
}

function containersOf(statuses: unknown): ContainerFacts[] {
  const all = listOf(statuses).map(containerOf);
  // What injects containers may inject many; ours is kept wherever it stands.
  return all.filter(({ name }, index) => index < MAX_CONTAINERS || name === SCRIPT_CONTAINER);
}

function containerOf(value: unknown): ContainerFacts {
  const { name, image, state, lastState, restartCount, containerID } = membersOf(value);
  const { waiting, running, terminated } = membersOf(state);
  const [kind, facts] = terminated
    ? (['terminated', terminated] as const)
    : running
      ? (['running', running] as const)
      : ([waiting ? 'waiting' : 'unknown', waiting] as const);
  const { reason, message, exitCode, signal, startedAt, finishedAt } = membersOf(facts);
  const lastReason = textOf(membersOf(membersOf(lastState)['terminated'])['reason']);
  const restarts = numberOf(restartCount) ?? 0;
  const isSeen = kind === 'running' || momentOf(startedAt) !== undefined || textOf(containerID) !== '';
  return {
    name: textOf(name),
    image: textOf(image),
    state: kind,
    reason: textOf(reason),
    message: textOf(message),
    exitCode: numberOf(exitCode),
    signal: numberOf(signal),
    startedMs: momentOf(startedAt),
    endedMs: momentOf(finishedAt),
    restarts,
    lastReason,
    wasMade: isSeen || restarts > 0 || lastReason !== '',
  };
}

function memoryLimitOf(containers: unknown): string {
  const script = listOf(containers)
    .map(membersOf)
    .find((one) => one['name'] === SCRIPT_CONTAINER);
  return textOf(membersOf(membersOf(membersOf(script)['resources'])['limits'])['memory']);
}

/** The condition of that type, whatever its status. */
export function conditionIn(facts: PodFacts, type: string): ConditionFacts | undefined {
  return facts.conditions.find((one) => one.type === type);
}
