import type { FailureCode } from '../../protocol/failure-table.ts';
import type { Trouble } from '../executor.ts';
import { inOneLine, shortened } from './loose-json.ts';
import type { PodEvent } from './pod-event.ts';
import type { ConditionFacts, ContainerFacts, PodFacts } from './pod-facts.ts';

/** A pod, and what was said about this one and no other of its name, the newest last. */
export interface PodCase {
  readonly facts: PodFacts;
  readonly events: readonly PodEvent[];
}

/** What was found out about a pod, before the evidence is added. */
export interface Finding {
  readonly code: FailureCode;
  readonly says: string;
  /** Waiting does not heal it. @default false */
  readonly final?: boolean;
  /** In ms since 1970. @default what the pod itself says of its beginning */
  readonly sinceMs?: number | undefined;
}

const MAX_WORDS = 700;
const MAX_RAW_TEXT = 600;
const MAX_REASON = 200;
const MAX_EVENTS = 5;

/** Makes the trouble of a finding, with what the cluster said as it came (invariant 14), at most about 16 KiB of it. */
export function troubleFrom(pod: PodCase, { code, says, final = false, sinceMs }: Finding): Trouble {
  const { acceptedMs, createdMs } = pod.facts;
  return { code, says, evidence: evidenceOf(pod), final, sinceMs: sinceMs ?? acceptedMs ?? createdMs ?? 0 };
}

/** The words of the cluster behind a sentence of ours: without their full stop, and nothing where there are none. */
export function quoted(words: string): string {
  const line = inOneLine(words, MAX_WORDS).replace(/[.\s]+$/, '');
  return line === '' ? '' : `: ${line}`;
}

/** Names the node for a sentence. */
export function nodeOf({ node }: PodFacts): string {
  return node === '' ? 'its node' : `node ${node}`;
}

function evidenceOf({ facts, events }: PodCase): Record<string, unknown> {
  const { name, uid, node, phase, reason, message, graceOverMs, script, initContainers } = facts;
  const containers = [...initContainers, ...(script ? [script] : [])];
  return withoutEmpty({
    pod: name,
    uid,
    node,
    phase,
    reason,
    message,
    graceOver: graceOverMs === undefined ? undefined : isoTime(graceOverMs),
    conditions: facts.conditions.filter(isTelling).map(rawCondition),
    containers: containers.map(rawContainer),
    events: events.slice(-MAX_EVENTS).map(rawEvent),
  });
}

/** Conditions that are as they should be say nothing. */
function isTelling({ status, reason, message }: ConditionFacts): boolean {
  return status !== 'True' || reason !== '' || message !== '';
}

function rawCondition({ type, status, reason, message }: ConditionFacts): Record<string, unknown> {
  return withoutEmpty({ type, status, reason, message });
}

function rawContainer(container: ContainerFacts): Record<string, unknown> {
  const { name, state, reason, message, exitCode, signal, restarts, lastReason } = container;
  const again = restarts > 0 ? { restarts, lastReason } : { lastReason };
  return withoutEmpty({ name, state, reason, message, exitCode, signal, ...again });
}

function rawEvent({ reason, message, count, lastMs }: PodEvent): Record<string, unknown> {
  return withoutEmpty({ reason, message, count, at: lastMs === undefined ? undefined : isoTime(lastMs) });
}

/** Drops what says nothing, and bounds what says too much. */
function withoutEmpty(raw: Record<string, unknown>): Record<string, unknown> {
  const said = Object.entries(raw).filter(
    ([, value]) => value !== undefined && value !== '' && !(Array.isArray(value) && value.length === 0),
  );
  return Object.fromEntries(
    said.map(([key, value]) => [
      key,
      typeof value === 'string' ? shortened(value, key === 'message' ? MAX_RAW_TEXT : MAX_REASON) : value,
    ]),
  );
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
