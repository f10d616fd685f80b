import { fileURLToPath } from 'node:url';
import packageJson from '../package.json' with { type: 'json' };
import { buildApp } from './api/app.ts';
import type { AgentView } from './api/agent-view.ts';
import { TokenStore } from './api/tokens.ts';
import { addressOf, runnerEnvironment, type Config } from './config.ts';
import { LocalExecutor } from './executors/local/local-executor.ts';
import { openState, textOf, type AgentState } from './mount/agent-state.ts';
import { ensureLayout, findOrCreateEpoch } from './mount/epoch.ts';
import { watchFile } from './mount/file-watcher.ts';
import { Gate, type GateEvent } from './mount/gate.ts';
import { Volume } from './mount/volume.ts';
import { Fault } from './protocol/fault.ts';
import { VolumeLayout } from './protocol/volume-layout.ts';
import { AgentLines } from './scripts/agent-lines.ts';
import { ScriptBook } from './scripts/script-book.ts';
import { ScriptKeeper } from './scripts/script-keeper.ts';
import { scriptLimitsFrom, type ScriptRoom } from './scripts/script-room.ts';
import { TicketRecords } from './scripts/ticket-record.ts';
import { Sweeper } from './scripts/sweeper.ts';
import { BlobStore } from './staging/blob-store.ts';
import { VolumeLocks } from './staging/lock.ts';
import { PackageStore } from './staging/package-store.ts';
import { errorFields, makeLogger, type Logger } from './telemetry/logger.ts';
import { Metrics } from './telemetry/metrics.ts';
import { MetricsServer } from './telemetry/metrics-server.ts';
import { Reporter } from './telemetry/reporter.ts';

/** An agent that answers. */
export interface RunningAgent {
  /** HOST:PORT, with the port that was really taken. */
  readonly listen: string;
  readonly metrics: string;
  /** Ends intake, answers what waits, and lets runners run: they belong to the next agent. May be repeated. */
  stop(): Promise<void>;
  /** Resolves with the exit code of the program. */
  readonly stopped: Promise<number>;
  /** Calls on the volume that never returned hold threads, which an ordinary exit waits for. */
  hasStuckOperations(): boolean;
}

export interface ServeOptions {
  /** Sees every operation on the volume, synchronously: tests stop the world between two of them. */
  readonly observeGate?: (event: GateEvent) => void;
}

/** What the parts of an agent share while it is made. */
interface Parts {
  readonly config: Config;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly reporter: Reporter;
  readonly gate: Gate;
  readonly volume: Volume;
}

/** The agent behind the HTTP interface, once it has found its state. */
interface Inside {
  readonly view: AgentView;
  readonly book: ScriptBook;
  readonly keeper: ScriptKeeper;
  readonly blobs: BlobStore;
  readonly sweeper: Sweeper;
  readonly executor: LocalExecutor;
}

const VERSION = packageJson.version;
const HOUR_MS = 3_600_000;
/** Refreshed every 8 s, so that one missed refresh on a slow volume does not look like a dead agent. */
const LOCK_UPDATE_MS = 8000;
const LOCK_STALE_MS = 40_000;
/** Memory that all uploads together may hold in buffers on their way to the volume. */
const UPLOAD_MEMORY_BYTES = 48 * 2 ** 20;

/**
 * Starts an agent and returns when it answers.
 *
 *   HTTP ▶ api ▶ scripts ▶ staging ▶ mount (gate) ▶ volume
 *                   └────▶ executor ▶ runner ▶ script
 *
 * @throws {Fault} CONFIG_INVALID, and the STORAGE_ code of a volume that cannot be used; nothing goes on running then.
 */
export async function serve(config: Config, options: ServeOptions = {}): Promise<RunningAgent> {
  const parts = makeParts(config, options);
  const state = await openState(config);
  const tokens = new TokenStore(state.tokens);
  const stopping = new AbortController();
  let inside: Inside | undefined;
  const app = makeApp(parts, { tokens, stopping: stopping.signal, inside: () => inside });
  const scraped = new MetricsServer((accept) => render(parts, inside, accept));
  let [metrics, listen] = ['', ''];
  try {
    metrics = await listening('metrics', config.metrics, (address) => scraped.listen(address));
    listen = hostPort(await listening('listen', config.listen, (address) => app.listen(address)));
    inside = await findState(parts, state);
  } catch (error) {
    await Promise.all([app.close(), scraped.close()]);
    throw error;
  }
  const watch = watchTokens(parts, tokens);
  const sweeping = inside.sweeper.run(stopping.signal, (swept) =>
    parts.logger.info({ swept }, 'the volume was swept'),
  );
  parts.logger.info(
    { listen, metrics, volume: config.volume, tokens: config.tokens, madeTokens: state.madeTokens },
    'agent is ready',
  );

  const { promise: stopped, resolve } = Promise.withResolvers<number>();
  const end = async (book: ScriptBook, keeper: ScriptKeeper, executor: LocalExecutor): Promise<void> => {
    parts.logger.info({}, 'agent is stopping');
    stopping.abort();
    await within(
      config.shutdownMs,
      Promise.all([app.close(), scraped.close(), watch.close(), keeper.close(), book.close(), sweeping]),
    );
    await within(config.shutdownMs, executor.close());
    parts.logger.info({}, 'agent has stopped');
    resolve(0);
  };
  const { book, keeper, executor } = inside;
  let ending: Promise<void> | undefined;
  return {
    listen,
    metrics,
    stopped,
    stop: () => (ending ??= end(book, keeper, executor)),
    hasStuckOperations: () => parts.gate.load.inside > 0,
  };
}

function makeParts(config: Config, { observeGate }: ServeOptions): Parts {
  const metrics = new Metrics();
  const counted = (level: string): void => metrics.count('longshore_log_lines_total', { level });
  const logger = makeLogger({ level: config.logLevel, counted });
  const reporter = new Reporter(metrics, logger);
  const gate = new Gate({
    budget: config.volumeBudget,
    queueLimit: config.volumeQueueLimit,
    deadlineMs: config.volumeDeadlineMs,
    observe: (event) => {
      reporter.volume(event);
      observeGate?.(event);
    },
  });
  const layout = new VolumeLayout(config.volume);
  const volume = new Volume({ gate, layout, slowDeadlineMs: config.volumeSlowDeadlineMs });
  metrics.set('longshore_build_info', { version: VERSION, node: process.version }, 1);
  return { config, logger, metrics, reporter, gate, volume };
}

function makeApp(
  { config, reporter }: Parts,
  {
    tokens,
    stopping,
    inside,
  }: { tokens: TokenStore; stopping: AbortSignal; inside: () => Inside | undefined },
): ReturnType<typeof buildApp> {
  return buildApp({
    agent: () => {
      const found = inside();
      if (found) return found.view;
      throw new Fault('AGENT_STARTING', 'the agent still looks for its scripts on the volume');
    },
    serverOf: (token) => tokens.serverOf(token),
    limits: config,
    readiness: () => {
      if (stopping.aborted) return { ready: false, says: 'the agent is stopping' };
      return inside()
        ? { ready: true, says: 'ready' }
        : { ready: false, says: 'the agent looks for its scripts' };
    },
    stopping,
    version: VERSION,
    observe: (event) => reporter.api(event),
  });
}

/** Finds identity and scripts on the volume; what was under way when an agent died goes on from here. */
async function findState({ config, reporter, volume }: Parts, state: AgentState): Promise<Inside> {
  await ensureLayout(volume);
  const epoch = await findOrCreateEpoch(volume);
  const blobs = new BlobStore(volume, {
    maxBytes: config.uploadMaxBytes,
    memoryBytes: UPLOAD_MEMORY_BYTES,
    minBytesPerSecond: config.uploadMinBytesPerSecond,
    rateWindowMs: config.uploadStallMs,
    reserveBytes: config.volumeReserveBytes,
    maxUploads: config.maxUploads,
    unknownLengthBytes: config.uploadMaxBytes / 64,
  });
  const packages = new PackageStore(volume, blobs);
  const executor = makeExecutor(config);
  const now = (): Date => new Date();
  const room: ScriptRoom = {
    ...{ volume, executor, epoch, now },
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
  return { view: { scripts: book, packages, blobs }, book, keeper, blobs, sweeper, executor };
}

function makeExecutor(config: Config): LocalExecutor {
  return new LocalExecutor({
    // The runner lies beside this program wherever it was installed; it never lies on the volume.
    runnerPath: fileURLToPath(import.meta.resolve('longshore/runner')),
    stateFolder: config.state,
    environment: runnerEnvironment(),
  });
}

function watchTokens({ config, logger }: Parts, tokens: TokenStore): ReturnType<typeof watchFile> {
  const reread = async (): Promise<void> => {
    try {
      tokens.replace(await textOf(config.tokens));
      logger.info({ servers: tokens.names }, 'tokens were read again');
    } catch (error) {
      logger.error(errorFields(error), 'the tokens file is broken, and the tokens before it stay');
    }
  };
  const failed = (error: unknown): void =>
    logger.warn(errorFields(error), 'the tokens file cannot be watched');
  return watchFile(config.tokens, () => void reread(), { failed });
}

async function render(
  { metrics, gate }: Parts,
  inside: Inside | undefined,
  accept: string | undefined,
): Promise<{ type: string; text: string }> {
  const { inside: inFlight, overdue, oldestSeconds } = gate.load;
  const readers = {
    longshore_volume_operations_in_flight: () => inFlight,
    longshore_volume_operations_overdue: () => overdue,
    longshore_volume_oldest_operation_seconds: () => oldestSeconds,
    longshore_staging_uploads_in_flight: () => inside?.blobs.space.load.uploads ?? 0,
    longshore_scripts: () => inside?.book.counts ?? new Map<string, number>(),
  };
  return metrics.render(readers, accept);
}

/** What hangs must not keep the agent from leaving: the volume and the runners are as they are. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    work.then(done, done);
  });
}

async function listening(
  key: 'listen' | 'metrics',
  address: string,
  listen: (address: { host: string; port: number }) => Promise<string>,
): Promise<string> {
  try {
    return await listen(addressOf(address));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Fault('CONFIG_INVALID', `${key} cannot be ${address}: ${why}`, {
      cause: error,
      detail: { key },
    });
  }
}

function hostPort(url: string): string {
  return new URL(url).host;
}
