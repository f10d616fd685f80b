import { fileURLToPath } from 'node:url';
import packageJson from '../package.json' with { type: 'json' };
import type { AgentView } from './api/agent-view.ts';
import { runnerEnvironment, type Config } from './config.ts';
import type { Executor } from './executors/executor.ts';
import { LocalExecutor } from './executors/local/local-executor.ts';
import type { AgentState } from './mount/agent-state.ts';
import { ensureLayout, findOrCreateEpoch } from './mount/epoch.ts';
import { Gate, type GateEvent } from './mount/gate.ts';
import { Volume } from './mount/volume.ts';
import { VolumeLayout } from './protocol/volume-layout.ts';
import { AgentLines } from './scripts/agent-lines.ts';
import { KeptScripts } from './scripts/kept-scripts.ts';
import { ScriptBook } from './scripts/script-book.ts';
import { ScriptKeeper } from './scripts/script-keeper.ts';
import { scriptLimitsFrom, type ScriptRoom } from './scripts/script-room.ts';
import { TicketRecords } from './scripts/ticket-record.ts';
import { Sweeper } from './scripts/sweeper.ts';
import { BlobStore } from './staging/blob-store.ts';
import { VolumeLocks } from './staging/lock.ts';
import { PackageStore } from './staging/package-store.ts';
import { makeLogger, type Logger } from './telemetry/logger.ts';
import { Metrics } from './telemetry/metrics.ts';
import { Reporter } from './telemetry/reporter.ts';
import { AgentPodDuty } from './wiring-agent-pod.ts';
import type { Execution } from './wiring-pods.ts';
import { AgentMount } from './wiring-mount.ts';

export const VERSION = packageJson.version;
const HOUR_MS = 3_600_000;
/** Refreshed every 8 s, so that one missed refresh on a slow volume does not look like a dead agent. */
const LOCK_UPDATE_MS = 8000;
const LOCK_STALE_MS = 40_000;
/** Memory that all uploads together may hold in buffers on their way to the volume. */
const UPLOAD_MEMORY_BYTES = 48 * 2 ** 20;

/** What the parts of an agent share while it is made. */
export interface Parts {
  readonly config: Config;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly reporter: Reporter;
  readonly gate: Gate;
  readonly volume: Volume;
  readonly mount: AgentMount;
}

/** The agent behind the HTTP interface, once it has found its state. */
export interface Inside {
  readonly view: AgentView;
  readonly book: ScriptBook;
  readonly keeper: ScriptKeeper;
  readonly blobs: BlobStore;
  readonly sweeper: Sweeper;
  readonly executor: Executor;
  /** Script pods by state; none where scripts are processes. */
  readonly pods: () => ReadonlyMap<string, number>;
  readonly podDuty: AgentPodDuty | undefined;
}

/** Makes what an agent is made of. Starts the processes that look at the volume: `mount.close()` ends them. */
export function makeParts(config: Config, observeGate?: (event: GateEvent) => void): Parts {
  const metrics = new Metrics();
  const counted = (level: string): void => metrics.count('longshore_log_lines_total', { level });
  const logger = makeLogger({ level: config.logLevel, counted });
  const reporter = new Reporter(metrics, logger);
  const mount = new AgentMount({ config, metrics, logger });
  const gate = new Gate({
    budget: config.volumeBudget,
    queueLimit: config.volumeQueueLimit,
    deadlineMs: config.volumeDeadlineMs,
    refusal: () => mount.refusal(),
    observe: (event) => {
      reporter.volume(event);
      mount.heard(event);
      observeGate?.(event);
    },
  });
  const layout = new VolumeLayout(config.volume);
  const volume = new Volume({ gate, layout, slowDeadlineMs: config.volumeSlowDeadlineMs });
  metrics.set('longshore_build_info', { version: VERSION, node: process.version }, 1);
  return { config, logger, metrics, reporter, gate, volume, mount };
}

/** Finds identity and scripts on the volume; what was under way when an agent died goes on from here. */
export async function findState(parts: Parts, state: AgentState): Promise<Inside> {
  const { config, reporter, gate, volume, mount } = parts;
  await ensureLayout(volume);
  const epoch = await findOrCreateEpoch(volume);
  mount.adopt(epoch);
  const folder = await volume.realRoot();
  const { blobs, packages } = makeStores(parts);
  const { executor, pods, agentPod } = await makeExecutor(parts, state);
  const now = (): Date => new Date();
  const room: ScriptRoom = {
    ...{ volume, executor, now },
    mount: mount.watch,
    kept: new KeptScripts(executor.keep, state.agentKey),
    stores: { blobs, packages },
    records: new TicketRecords(volume, state.agentKey),
    lines: new AgentLines(volume, now),
    agentKey: state.agentKey,
    limits: scriptLimitsFrom(config),
    observe: (event) => reporter.scripts(event),
  };
  const book = new ScriptBook(room);
  const keeper = new ScriptKeeper(room, book, {
    reconcileMs: config.reconcileMs,
    finishedRetentionMs: config.finishedRetentionHours * HOUR_MS,
    tombstoneRetentionMs: config.tombstoneRetentionHours * HOUR_MS,
    keepEndedMs:
      config.executor === 'kubernetes' ? config.podRetentionMinutes * 60_000 : Number.POSITIVE_INFINITY,
  });
  const locks = new VolumeLocks(volume, { staleMs: LOCK_STALE_MS, updateMs: LOCK_UPDATE_MS });
  const sweeper = new Sweeper(
    room,
    { keeper, locks },
    {
      sweepMs: config.sweepMs,
      leftoverAgeMs: config.leftoverRetentionMinutes * 60_000,
      unusedAgeMs: config.blobRetentionHours * HOUR_MS,
    },
  );
  await keeper.start();
  await executor.prepare();
  // Not before: on a machine that has no time to start the probes, an agent would refuse itself its own state.
  mount.start(gate, folder, epoch);
  const podDuty =
    agentPod &&
    new AgentPodDuty({
      ...{ pod: agentPod, mount: mount.watch, logger: parts.logger },
      isSettled: () => book.isSettled,
      retryMs: config.probeIntervalMs,
    });
  const view = { scripts: book, packages, blobs };
  return { view, book, keeper, blobs, sweeper, executor, pods, podDuty };
}

function makeStores({ config, volume }: Parts): ScriptRoom['stores'] {
  const blobs = new BlobStore(volume, {
    maxBytes: config.uploadMaxBytes,
    memoryBytes: UPLOAD_MEMORY_BYTES,
    minBytesPerSecond: config.uploadMinBytesPerSecond,
    rateWindowMs: config.uploadStallMs,
    reserveBytes: config.volumeReserveBytes,
    maxUploads: config.maxUploads,
    unknownLengthBytes: config.uploadMaxBytes / 64,
  });
  return { blobs, packages: new PackageStore(volume, blobs) };
}

/** Local or in a cluster, as the configuration says; the code for a cluster is loaded only where it is used. */
async function makeExecutor(parts: Parts, state: AgentState): Promise<Execution> {
  const { config } = parts;
  if (config.executor === 'kubernetes') {
    const { openPods } = await import('./wiring-pods.ts');
    return openPods(parts, state.agentKey);
  }
  const executor = new LocalExecutor({
    // The runner lies beside this program wherever it was installed; it never lies on the volume.
    runnerPath: fileURLToPath(import.meta.resolve('longshore/runner')),
    stateFolder: config.state,
    environment: runnerEnvironment(),
  });
  return { executor, pods: () => new Map() };
}
