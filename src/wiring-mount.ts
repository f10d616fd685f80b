import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import type { Config } from './config.ts';
import type { ErrnoMeaning } from './mount/errno.ts';
import type { Gate, GateEvent } from './mount/gate.ts';
import { readMountFacts } from './mount/mount-info.ts';
import { MountRecovery } from './mount/mount-recovery.ts';
import { refusalFor } from './mount/mount-trust.ts';
import { MountWatch } from './mount/mount-watch.ts';
import { Probes } from './mount/probes.ts';
import { Volume } from './mount/volume.ts';
import type { Belief } from './protocol/mount-belief.ts';
import type { Fault } from './protocol/fault.ts';
import { VolumeLayout } from './protocol/volume-layout.ts';
import { MountReporter } from './telemetry/mount-reporter.ts';
import type { Logger } from './telemetry/logger.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** What of an agent the watch of its mount needs. */
export interface MountParts {
  readonly config: Config;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

/** Whatever of these an operation meets, it is looked at the volume at once. */
const SUSPICIOUS: ReadonlySet<ErrnoMeaning> = new Set<ErrnoMeaning>(['stale', 'unavailable']);

/**
 * The watch of the mount, joined with the gate in both directions: the gate refuses what the watch does not trust, and
 * what goes wrong at the gate makes the watch look.
 */
export class AgentMount {
  readonly watch: MountWatch;
  readonly #retryAfterSeconds: number;
  readonly #reporter: MountReporter;
  readonly #config: Config;
  #gate: Gate | undefined;
  #recovery: MountRecovery | undefined;

  /** Starts processes, which is safe only before anything on the volume is opened. */
  constructor({ config, metrics, logger }: MountParts) {
    this.#config = config;
    this.#reporter = new MountReporter(metrics, logger);
    this.#retryAfterSeconds = Math.ceil(config.probeIntervalMs / 1000);
    const agent = randomBytes(8).toString('hex');
    const layout = new VolumeLayout(config.volume);
    this.watch = new MountWatch({
      probes: new Probes({
        program: fileURLToPath(import.meta.resolve('longshore/probe')),
        places: {
          root: config.volume,
          epoch: layout.epoch,
          canaries: layout.canary,
          canary: layout.canaryFile(agent),
        },
        deadlineMs: { liveness: config.probeDeadlineMs, canary: config.canaryDeadlineMs },
        maxLeaked: config.maxHeldProbes,
      }),
      limits: config,
      serverDeadlineMs: config.serverProbeDeadlineMs,
      owner: `longshore-${agent}`,
      maySpawn: () => this.watch.belief().verdict === 'trusted' || this.#gate?.load.inside === 0,
      observe: (event) => this.#reporter.tell(event),
    });
  }

  /** What an operation is refused with; before the watch has begun, nothing is. */
  refusal(): Fault | undefined {
    if (this.watch.epoch() === undefined) return undefined;
    return refusalFor(this.watch.belief(), this.#retryAfterSeconds);
  }

  /** An operation that goes wrong is a reason to look, and no evidence by itself. */
  heard({ phase, meaning }: GateEvent): void {
    if (phase === 'overdue' || (meaning && SUSPICIOUS.has(meaning))) this.watch.suspect();
  }

  /** Trusts a volume that has just shown `epoch`. An agent that looks for its scripts meets errors, and no verdict. */
  adopt(epoch: string): void {
    this.watch.adopt(epoch);
  }

  /** Begins to watch a volume that has just shown `epoch`, whose root really lies at `folder`. */
  start(gate: Gate, folder: string, epoch: string): void {
    this.#gate = gate;
    this.watch.subscribe((belief) => this.#turned(gate, belief));
    const layout = new VolumeLayout(this.#config.volume);
    const before = readMountFacts(folder);
    const slowDeadlineMs = this.#config.volumeSlowDeadlineMs;
    this.#recovery = new MountRecovery({
      watch: this.watch,
      volume: new Volume({ gate: gate.always, layout, slowDeadlineMs }),
      isMounted: async () => (await readMountFacts(folder))?.mountPoint === (await before)?.mountPoint,
      retryMs: this.#config.probeIntervalMs,
      failed: (error) => this.#reporter.recoveryFailed(error),
    });
    this.watch.start(folder, epoch);
  }

  async close(): Promise<void> {
    await Promise.all([this.#recovery?.close(), this.watch.close()]);
  }

  #turned(gate: Gate, belief: Belief): void {
    const fault = this.refusal();
    if (fault) gate.distrust(fault, belief.verdict === 'lost');
  }
}
