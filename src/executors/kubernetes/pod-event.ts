import { createHash } from 'node:crypto';
import type { PodLine } from '../executor.ts';
import { inOneLine, listOf, membersOf, momentOf, numberOf, textOf } from './loose-json.ts';

/** Something that a part of the cluster said about a pod, once or many times. */
export interface PodEvent {
  readonly pod: string;
  readonly podUid: string;
  /** The place in the pod that it is about, such as `spec.containers{script}`. */
  readonly field: string;
  readonly warning: boolean;
  readonly reason: string;
  readonly message: string;
  /** How often it was said. */
  readonly count: number;
  readonly firstMs: number | undefined;
  readonly lastMs: number | undefined;
}

const MAX_TEXT = 2000;

/** What is worth a line although nothing is wrong: where the pod went, its images, and who took it away. */
const TELLING = new Set([
  'Scheduled',
  'Pulling',
  'Pulled',
  'Preempted',
  'TaintManagerEviction',
  'DeadlineExceeded',
  'SandboxChanged',
  // Of autoscalers, which tell why a pod waits for a node.
  'TriggeredScaleUp',
  'NotTriggerScaleUp',
  'Nominated',
]);

/**
 * Reads an event of core/v1 or of events.k8s.io/v1; undefined where it is about no pod.
 *
 * Source: Kubernetes API reference, Event v1 core and Event v1 events.k8s.io.
 */
export function podEventFrom(value: unknown): PodEvent | undefined {
  const event = membersOf(value);
  const about = membersOf(event['involvedObject'] ?? event['regarding']);
  const pod = textOf(about['name']);
  const reason = textOf(event['reason']);
  if (about['kind'] !== 'Pod' || pod === '' || reason === '') return undefined;
  const series = membersOf(event['series']);
  const said = [
    ...[event['firstTimestamp'], event['deprecatedFirstTimestamp'], event['eventTime']],
    ...[event['lastTimestamp'], event['deprecatedLastTimestamp'], series['lastObservedTime']],
  ].flatMap((time) => momentOf(time) ?? []);
  const writtenMs = momentOf(membersOf(event['metadata'])['creationTimestamp']);
  return {
    pod,
    podUid: textOf(about['uid']),
    field: textOf(about['fieldPath']),
    warning: event['type'] === 'Warning',
    reason,
    message: textOf(event['message']) || textOf(event['note']),
    count: numberOf(series['count'] ?? event['count'] ?? event['deprecatedCount']) ?? 1,
    firstMs: said.length > 0 ? Math.min(...said) : writtenMs,
    lastMs: said.length > 0 ? Math.max(...said) : writtenMs,
  };
}

/** Reads a list of events, leaving out what is about no pod. */
export function podEventsFrom(list: unknown): PodEvent[] {
  return listOf(membersOf(list)['items']).flatMap((item) => podEventFrom(item) ?? []);
}

/** The line of the journal for an event, with the time when it was first said; undefined where it is not worth one. */
export function podEventLine(event: PodEvent): (PodLine & { readonly atMs: number | undefined }) | undefined {
  if (!event.warning && !TELLING.has(event.reason)) return undefined;
  const message = inOneLine(plain(event.message), MAX_TEXT);
  const text = message === '' ? event.reason : `${event.reason}: ${message}`;
  return { text, mark: markFor(event), atMs: event.firstMs };
}

/**
 * The same for every repetition: the recorder counts up one event, patches its message, or makes a new one when the old
 * one has expired. What differs from one attempt to the next (a port, an id, a time) does not make another line.
 */
function markFor({ reason, message, podUid }: PodEvent): string {
  const steady = inOneLine(plain(message), MAX_TEXT)
    .replace(/\b[0-9a-f]{8}-[0-9a-f-]{27}\b/gi, '#')
    .replace(/\b0x[0-9a-f]+\b|\b[0-9a-f]{12,}\b/gi, '#')
    .replace(/(?<=:)\d{4,5}(?=->)/g, '#')
    .replace(/\b\d{4}-\d\d-\d\d[T ][\d:.]+Z?|\b\d+(?:\.\d+)?(?:ms|µs|s)\b|\b\d+m\d+(?:\.\d+)?s\b/g, '#');
  const digest = createHash('sha256').update(`${podUid}\n${reason}\n${steady}`).digest('hex').slice(0, 16);
  return `event-${reason.slice(0, 64)}-${digest}`;
}

/** The recorder puts this in front when it gathers events that differ in their messages only. */
function plain(message: string): string {
  return message.replace(/^\(combined from similar events\): /, '');
}
