import { performance } from 'node:perf_hooks';
import type { Belief, MountLimits } from '../protocol/mount-belief.ts';
import type { MountCase } from '../protocol/mount-case.ts';
import type { Evidence } from '../protocol/mount-evidence.ts';
import { elapse, expectEpoch, openCase, weigh } from '../protocol/mount-verdict.ts';
import { readMountFacts, type MountFacts } from './mount-info.ts';
import type { MountTrust } from './mount-trust.ts';
import { canarySeen, probeSeen } from './probe-evidence.ts';
import type { ProbeKind, ProbeReport } from './probe-words.ts';
import type { Probes } from './probes.ts';
import { Rounds } from './rounds.ts';
import { ServerLook } from './server-look.ts';

/** What the watch tells whoever counts and logs; never waited for. */
export type MountEvent =
  | { readonly type: 'belief'; readonly before: Belief; readonly belief: Belief }
  | { readonly type: 'evidence'; readonly evidence: Evidence }
  | { readonly type: 'probe'; readonly report: ProbeReport }
  | { readonly type: 'epoch'; readonly before: string | undefined; readonly epoch: string };

export interface MountWatchOptions {
  readonly probes: Pick<Probes, 'probe' | 'isUp' | 'start' | 'leaked' | 'close'>;
  readonly limits: MountLimits;
  readonly serverDeadlineMs: number;
  /** Names this agent to the server of the volume. */
  readonly owner: string;
  /** Whether a spawn is safe now: no call hangs that could keep it. */
  readonly maySpawn: () => boolean;
  readonly observe: (event: MountEvent) => void;
}

/** What is known of the mount, for whoever asks. */
export interface MountView {
  readonly belief: Belief;
  readonly epoch: string | undefined;
  /** The latest evidence of each kind. */
  readonly evidence: readonly Evidence[];
  /** By the clock of all `…Ms` of belief and evidence. */
  readonly nowMs: number;
  readonly limits: MountLimits;
  readonly mount: MountFacts | undefined;
  readonly leaked: ReadonlyMap<ProbeKind, number>;
}

/** Time has to be told to the verdict machine also where nothing else happens. */
const TICK_MS = 1000;
/** While something is wrong: what comes back should be seen soon, and a second look decides. */
const DOUBT_INTERVAL_MS = 1000;

/**
 * Watches the mount: gathers evidence and has it weighed.
 *
 *   probes (liveness) ─┐
 *   probes (canary) ───┼─▶ weigh ─▶ belief ─▶ gate, API, scripts
 *   server and name ───┤
 *   time ──────────────┘
 */
export class MountWatch implements MountTrust {
  readonly #options: MountWatchOptions;
  readonly #listeners = new Set<(belief: Belief) => void>();
  readonly #latest = new Map<Evidence['kind'], Evidence>();
  readonly #closed = new AbortController();
  readonly #liveness: Rounds;
  readonly #others: readonly Rounds[];
  readonly #serverLook: ServerLook;
  #case: MountCase;
  #folder = '/';
  #mount: MountFacts | undefined;
  #tick: NodeJS.Timeout | undefined;

  constructor(options: MountWatchOptions) {
    this.#options = options;
    this.#case = openCase({ atMs: performance.now() });
    const { owner, serverDeadlineMs: deadlineMs } = options;
    this.#serverLook = new ServerLook({ owner, deadlineMs, now: () => performance.now() });
    const intervalMs = (): number => this.#intervalMs();
    this.#liveness = new Rounds({ work: () => this.#look(), intervalMs });
    this.#others = [
      new Rounds({ work: () => this.#write(), intervalMs: () => options.limits.probeIntervalMs }),
      new Rounds({ work: () => this.#lookAtServer(), intervalMs }),
    ];
  }

  belief(): Belief {
    return this.#case.belief;
  }

  epoch(): string | undefined {
    return this.#case.expected;
  }

  get view(): MountView {
    return {
      belief: this.#case.belief,
      epoch: this.#case.expected,
      evidence: [...this.#latest.values()],
      nowMs: performance.now(),
      limits: this.#options.limits,
      mount: this.#mount,
      leaked: this.#options.probes.leaked,
    };
  }

  subscribe(changed: (belief: Belief) => void): () => void {
    this.#listeners.add(changed);
    return () => void this.#listeners.delete(changed);
  }

  /** Trusts a volume that has just shown `epoch`; without one it is stalled until `expect` tells it. */
  adopt(epoch: string | undefined): void {
    // Nobody was told of anything before: this is no change.
    this.#case = openCase({ atMs: performance.now(), epoch });
  }

  /** Begins to look at the volume. `folder` is absolute and without links: the mount is found by it. */
  start(folder: string, epoch?: string): void {
    this.#folder = folder;
    this.adopt(epoch);
    for (const rounds of [this.#liveness, ...this.#others]) rounds.start();
    this.#tick = setInterval(() => {
      this.#turn(elapse(this.#case, performance.now(), this.#options.limits));
    }, TICK_MS).unref();
  }

  /** Tells which epoch the volume must show from now on. */
  expect(epoch: string): void {
    const before = this.#case.expected;
    if (before === epoch) return;
    this.#turn(expectEpoch(this.#case, epoch));
    this.#options.observe({ type: 'epoch', before, epoch });
  }

  async confirm(): Promise<Belief> {
    // Before the first look there is none to wait for: whoever adopted the epoch has just read it.
    if (this.#tick !== undefined) await this.#liveness.next();
    return this.#case.belief;
  }

  /** Something looked wrong to somebody: looks now instead of after the interval. Decides nothing by itself. */
  suspect(): void {
    void this.#liveness.next();
  }

  async close(): Promise<void> {
    this.#closed.abort();
    clearInterval(this.#tick);
    await this.#options.probes.close();
    await Promise.all([this.#liveness, ...this.#others].map((rounds) => rounds.close()));
  }

  #intervalMs(): number {
    const { probeIntervalMs } = this.#options.limits;
    return this.#case.belief.verdict === 'trusted'
      ? probeIntervalMs
      : Math.min(DOUBT_INTERVAL_MS, probeIntervalMs);
  }

  async #look(): Promise<void> {
    const { probes, maySpawn } = this.#options;
    if (!probes.isUp && maySpawn()) probes.start();
    this.#weigh(probeSeen(await this.#probe('liveness'), performance.now()));
  }

  /** Where the data is gone, nothing is written until it is known to what. */
  async #write(): Promise<void> {
    if (this.#case.expected === undefined || this.#case.belief.verdict === 'lost') return;
    this.#weigh(canarySeen(await this.#probe('canary'), performance.now()));
  }

  async #lookAtServer(): Promise<void> {
    this.#mount = await readMountFacts(this.#folder);
    const seen = await this.#serverLook.look(this.#mount, this.#closed.signal);
    for (const evidence of seen) this.#weigh(evidence);
  }

  async #probe(kind: ProbeKind): Promise<ProbeReport> {
    const report = await this.#options.probes.probe(kind);
    this.#options.observe({ type: 'probe', report });
    return report;
  }

  #weigh(evidence: Evidence | undefined): void {
    // What comes after the end was asked for is the end's own doing.
    if (evidence === undefined || this.#closed.signal.aborted) return;
    this.#latest.set(evidence.kind, evidence);
    this.#options.observe({ type: 'evidence', evidence });
    this.#turn(weigh(this.#case, evidence, this.#options.limits));
  }

  #turn(now: MountCase): void {
    const before = this.#case.belief;
    this.#case = now;
    if (before === now.belief) return;
    this.#options.observe({ type: 'belief', before, belief: now.belief });
    for (const changed of this.#listeners) changed(now.belief);
  }
}
