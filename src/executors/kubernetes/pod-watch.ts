import type { V1Pod } from '@kubernetes/client-node';
import type { ScriptKey } from '../../protocol/ticket.ts';
import { pathFor, type ApiCall, type ApiCaller, type ApiEvent } from './api-call.ts';
import type { Plain } from './api-object.ts';
import { podEventFrom, type PodEvent } from './pod-event.ts';
import { goneView, viewOf, type PodView } from './pod-failure.ts';
import { podNameFor, podSelectorFor, scriptKeyOf } from './pod-names.ts';
import { podPhasesOf, type PodPhase } from './pod-phase.ts';
import { ResourceWatch } from './resource-watch.ts';
import type { ServerDoubt } from './server-doubt.ts';
import { ServerPulse } from './server-pulse.ts';
import type { ApiObject } from './watch-event.ts';
import type { Trouble } from '../executor.ts';

export type Pod = Plain<V1Pod>;
type RawPod = Pod & ApiObject;

/** A script pod has come through a stretch of its way. */
export interface PhaseEvent extends PodPhase {
  readonly type: 'phase';
}

export interface PodWatchOptions {
  readonly connection: ApiCaller;
  readonly group: string;
  /**
   * Something about the pod of a script is new, or nobody says any more how it is, or an event about it came; `event` is
   * the one.
   */
  readonly changed: (key: ScriptKey, event: PodEvent | undefined) => void;
  readonly observe: (event: ApiEvent | PhaseEvent) => void;
  readonly nowMs: () => number;
  /** After so long without a word the API server is asked whether it is there. @default 10 s */
  readonly quietMs?: number | undefined;
}

/** Events of one pod that are looked at; a cluster that repeats itself makes more. */
const MAX_EVENTS_OF_POD = 50;
/** Pods that are gone and were seen, for why they went. */
const MAX_GONE = 1000;
/** A pod that was made and is not in the watch after so long was gone before it came there. */
const MADE_MS = 30_000;

/**
 * All script pods of a group of agents, as one watch of pods and one of events know them.
 *
 * What it says may be late by as long as the API server is away; `doubt` tells so.
 */
export class PodWatch {
  readonly #options: PodWatchOptions;
  readonly #pods: ResourceWatch<Pod, RawPod>;
  readonly #events: ResourceWatch<PodEvent>;
  readonly #eventsOf = new Map<ScriptKey, Map<string, PodEvent>>();
  readonly #gone = new Map<ScriptKey, Pod>();
  readonly #made = new Map<ScriptKey, { readonly pod: Pod; readonly atMs: number }>();
  readonly #pulse: ServerPulse;
  readonly #beganAtMs: number;
  /** When the watch broke off first since the API server was last heard, and how it did last. */
  #broken: { readonly atMs: number; readonly error: unknown } | undefined;

  constructor(options: PodWatchOptions) {
    this.#options = options;
    this.#beganAtMs = options.nowMs();
    const { connection, quietMs = 10_000 } = options;
    this.#pods = new ResourceWatch<Pod, RawPod>({
      connection,
      resource: 'pods',
      query: { labelSelector: podSelectorFor(options.group) },
      keep: kept,
      changed: (name, now, before) => this.#podChanged(name, now, before),
      observe: (event) => this.#observe(event),
    });
    this.#events = new ResourceWatch({
      connection,
      resource: 'events',
      query: { fieldSelector: 'involvedObject.kind=Pod' },
      keep: (object) => {
        const event = podEventFrom(object);
        return event && scriptKeyOf(event.pod) ? event : undefined;
      },
      changed: (name, now, before) => this.#eventChanged(name, now, before),
      observe: options.observe,
    });
    this.#pulse = new ServerPulse({
      ask: (signal) => connection.request(smallestQuestion(connection.namespace), { signal }),
      heardMs: () => this.#pods.lastHeardMs,
      everyMs: quietMs,
      lost: () => this.#tellAll(),
    });
  }

  /** Waits until every pod was listed once; false at the deadline. */
  async whenSynced(deadlineMs: number): Promise<boolean> {
    return this.#pods.whenSynced(deadlineMs);
  }

  /** Why what is known may be old: the API server was not heard since the watch broke off, or does not answer. */
  get doubt(): ServerDoubt | undefined {
    const { lastHeardMs: heardMs, synced } = this.#pods;
    const broken = this.#unheardBreak;
    const { failure } = this.#pulse;
    if (synced && !broken && !failure) return undefined;
    const since = [broken?.atMs, failure?.sinceMs, synced ? undefined : this.#beganAtMs];
    const sinceMs = Math.min(...since.filter((atMs) => atMs !== undefined));
    return { sinceMs, heardMs, error: broken?.error ?? failure?.error };
  }

  /** The scripts that have pods. */
  get keys(): ScriptKey[] {
    return [...this.#pods.objects.keys()].map(scriptKeyOf).filter((key) => key !== undefined);
  }

  /** The pod of a script as it was seen last, also one that an answer showed a moment ago. */
  pod(key: ScriptKey): Pod | undefined {
    this.#dropOldMade();
    return this.#made.get(key)?.pod ?? this.#pods.objects.get(podNameFor(key));
  }

  /** Takes in a pod that an answer of the API server showed, unless the watch knows it, or saw it go meanwhile. */
  note(key: ScriptKey, pod: Pod): void {
    this.#dropOldMade();
    const known = [this.#pods.objects.get(podNameFor(key)), this.#gone.get(key)];
    this.#made.delete(key);
    if (known.every((one) => uidOf(one) !== uidOf(pod)))
      this.#made.set(key, { pod, atMs: this.#options.nowMs() });
  }

  /** The pod of a script was seen, and seen to be gone. */
  isGone(key: ScriptKey): boolean {
    return this.pod(key) === undefined && this.#gone.has(key);
  }

  view(key: ScriptKey, pod: Pod): PodView {
    return viewOf(asModel(pod), this.events(key), this.#options.nowMs());
  }

  /** Why the pod of a script is not there any more. */
  whyGone(key: ScriptKey): Trouble {
    const last = this.#gone.get(key);
    return goneView(last && asModel(last), this.events(key));
  }

  events(key: ScriptKey): PodEvent[] {
    return [...(this.#eventsOf.get(key)?.values() ?? [])];
  }

  /** Forgets what is kept of a script beside its pod. */
  forget(key: ScriptKey): void {
    this.#gone.delete(key);
    this.#made.delete(key);
  }

  async close(): Promise<void> {
    await Promise.all([this.#pods.close(), this.#events.close(), this.#pulse.close()]);
  }

  #observe(event: ApiEvent): void {
    if (event.type === 'watch-restart' && event.reason !== 'ended') this.#breaks(event.error);
    this.#options.observe(event);
  }

  #breaks(error: unknown): void {
    const { doubt } = this;
    this.#broken = { atMs: this.#unheardBreak?.atMs ?? this.#options.nowMs(), error };
    if (doubt === undefined) this.#tellAll();
  }

  /** The break after which nothing was heard. */
  get #unheardBreak(): { readonly atMs: number; readonly error: unknown } | undefined {
    return this.#broken && this.#broken.atMs > this.#pods.lastHeardMs ? this.#broken : undefined;
  }

  /** Whoever waits for a pod has to know that nobody tells. */
  #tellAll(): void {
    for (const key of this.keys) this.#options.changed(key, undefined);
  }

  #podChanged(name: string, now: Pod | undefined, before: Pod | undefined): void {
    const key = scriptKeyOf(name);
    if (key === undefined) return;
    // What is told may be about the pod before the one that was made.
    if (uidOf(this.#made.get(key)?.pod) === uidOf(now ?? before)) this.#made.delete(key);
    if (now === undefined && before) this.#keepGone(key, before);
    if (now && before) this.#tellPhases(key, now, before);
    this.#options.changed(key, undefined);
  }

  /** Once, when it ends: before that, the last stretch is still growing. */
  #tellPhases(key: ScriptKey, now: Pod, before: Pod): void {
    if (this.view(key, before).state === 'ended' || this.view(key, now).state !== 'ended') return;
    for (const phase of podPhasesOf(asModel(now), this.events(key)))
      this.#options.observe({ type: 'phase', ...phase });
  }

  #keepGone(key: ScriptKey, pod: Pod): void {
    this.#gone.delete(key);
    this.#gone.set(key, pod);
    const [oldest] = this.#gone.keys();
    if (this.#gone.size > MAX_GONE && oldest !== undefined) this.#gone.delete(oldest);
  }

  #dropOldMade(): void {
    for (const [key, { atMs }] of this.#made) {
      if (this.#options.nowMs() - atMs < MADE_MS) return;
      this.#made.delete(key);
    }
  }

  #eventChanged(name: string, now: PodEvent | undefined, before: PodEvent | undefined): void {
    const key = scriptKeyOf((now ?? before)?.pod ?? '');
    if (key === undefined) return;
    const events = this.#eventsOf.get(key) ?? new Map<string, PodEvent>();
    this.#eventsOf.set(key, events);
    events.delete(name);
    if (now) events.set(name, now);
    const [oldest] = events.keys();
    if (events.size > MAX_EVENTS_OF_POD && oldest !== undefined) events.delete(oldest);
    if (events.size === 0) this.#eventsOf.delete(key);
    if (now) this.#options.changed(key, now);
  }
}

/** A list of the one pod of a name that no script pod has: within the rights of the agent, and hardly any work. */
function smallestQuestion(namespace: string): ApiCall {
  const query = { fieldSelector: 'metadata.name=longshore' };
  return { verb: 'list', resource: 'pods', path: pathFor(namespace, 'pods'), query };
}

/** What is held in memory of a pod: its managed fields are half of it and say nothing. */
function kept({ metadata, spec, status }: RawPod): Pod {
  const { managedFields: _, ...rest } = metadata ?? {};
  return { metadata: rest, spec, status } as Pod;
}

function uidOf(pod: Pod | undefined): string | undefined {
  return pod?.metadata?.uid;
}

/** The types of client-node are classes; what reads a pod reads JSON. */
function asModel(pod: Pod): V1Pod {
  return pod;
}
