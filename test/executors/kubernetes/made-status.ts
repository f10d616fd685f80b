import type { V1Pod } from '@kubernetes/client-node';
import { podEventFrom, type PodEvent } from '../../../src/executors/kubernetes/pod-event.ts';
import type { PodView } from '../../../src/executors/kubernetes/pod-failure.ts';

/** The times of every made pod, one second each after the other. */
export const CREATED = '2026-11-24T10:00:00Z';
export const STARTED = '2026-11-24T10:00:05Z';
export const ENDED = '2026-11-24T10:01:00Z';
export const LATER = '2026-11-24T10:02:00Z';
export const atMs = (text: string): number => Date.parse(text);

type Json = Readonly<Record<string, unknown>>;

/** A condition as the API writes it. */
export function condition(type: string, status: 'True' | 'False', rest: Json = {}): Json {
  return { type, status, lastTransitionTime: CREATED, ...rest };
}

/** The status of a container by its state, for example `{ waiting: { reason } }`. */
export function container(name: string, state: Json, rest: Json = {}): Json {
  return { name, image: 'busybox:1', restartCount: 0, state, ...rest };
}

export const running = container('script', { running: { startedAt: STARTED } });

export function terminated(exitCode: number, reason: string, rest: Json = {}): Json {
  return container('script', {
    terminated: { exitCode, reason, startedAt: STARTED, finishedAt: ENDED, ...rest },
  });
}

export function waiting(reason: string, message?: string, name = 'script'): Json {
  return container(name, { waiting: { reason, ...(message !== undefined && { message }) } });
}

/** A pod with that status and those members of its metadata, as JSON of the API. */
export function podWith(status: Json, metadata: Json = {}): V1Pod {
  const pod: unknown = {
    metadata: { name: 'ls-a', uid: 'uid-a', creationTimestamp: CREATED, ...metadata },
    spec: {
      nodeName: 'node-a',
      containers: [{ name: 'script', image: 'busybox:1', resources: { limits: { memory: '64Mi' } } }],
    },
    status: { startTime: CREATED, ...status },
  };
  // The type has dates where the wire has texts; the reader takes both.
  return pod as V1Pod;
}

/** An event of core/v1 about the made pod. */
export function eventOf(reason: string, message: string, rest: Json = {}): PodEvent {
  const event = podEventFrom({
    metadata: { name: 'ls-a.1', creationTimestamp: STARTED },
    involvedObject: { kind: 'Pod', name: 'ls-a', uid: 'uid-a' },
    type: 'Warning',
    reason,
    message,
    count: 1,
    firstTimestamp: STARTED,
    lastTimestamp: STARTED,
    ...rest,
  });
  if (event === undefined) throw new TypeError(`no event: ${reason}`);
  return event;
}

/** A row of the table: a status as a kubelet writes it, and what it means. */
export interface StatusCase {
  readonly pod: V1Pod;
  readonly events?: readonly PodEvent[];
  /** The state, the code, and the sentence. */
  readonly view: readonly [state: PodView['state'], code: string, says: string];
  /** @default false, and true for what has ended */
  readonly final?: boolean;
  /** Of what has ended. */
  readonly exitCode?: number | null;
}

/** Asked to go at 10:00:30 with 30 s of grace. */
export const deleted = { deletionTimestamp: ENDED, deletionGracePeriodSeconds: 30 };

/** Somebody announced that the pod will go. */
export function target(reason: string, message: string): Json {
  return condition('DisruptionTarget', 'True', { reason, message, lastTransitionTime: STARTED });
}

/** What the node controller makes of a running pod whose node is silent. */
export const silent = [condition('Ready', 'False'), condition('ContainersReady', 'True')];

/** What a kubelet makes of a container that was never made, when it ends the pod. */
export const neverMade = container('script', {
  terminated: {
    exitCode: 137,
    reason: 'ContainerStatusUnknown',
    message: 'The container could not be located when the pod was terminated',
    startedAt: null,
    finishedAt: null,
  },
});
