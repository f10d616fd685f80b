import { buildApp } from './api/app.ts';
import { TokenStore } from './api/tokens.ts';
import { addressOf, type Config } from './config.ts';
import { checkPod } from './executors/kubernetes/pod-policy.ts';
import type { Executor } from './executors/executor.ts';
import { openState, textOf } from './mount/agent-state.ts';
import { watchFile } from './mount/file-watcher.ts';
import type { GateEvent } from './mount/gate.ts';
import { Fault } from './protocol/fault.ts';
import { VERDICTS, type Belief } from './protocol/mount-belief.ts';
import type { ScriptBook } from './scripts/script-book.ts';
import type { ScriptKeeper } from './scripts/script-keeper.ts';
import { errorFields } from './telemetry/logger.ts';
import { MetricsServer } from './telemetry/metrics-server.ts';
import { findState, makeParts, VERSION, type Inside, type Parts } from './wiring.ts';

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

/**
 * Starts an agent and returns when it answers.
 *
 *   HTTP ▶ api ▶ scripts ▶ staging ▶ mount (gate) ▶ volume
 *                   └────▶ executor ▶ runner ▶ script
 *
 * @throws {Fault} CONFIG_INVALID, and the STORAGE_ code of a volume that cannot be used; nothing goes on running then.
 */
export async function serve(config: Config, options: ServeOptions = {}): Promise<RunningAgent> {
  const state = await openState(config);
  const parts = makeParts(config, options.observeGate);
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
    await Promise.all([app.close(), scraped.close(), parts.mount.close()]);
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
  const end = async (book: ScriptBook, keeper: ScriptKeeper, executor: Executor): Promise<void> => {
    parts.logger.info({}, 'agent is stopping');
    stopping.abort();
    podDuty?.close();
    await within(
      config.shutdownMs,
      Promise.all([app.close(), scraped.close(), watch.close(), keeper.close(), book.close(), sweeping]),
    );
    await within(config.shutdownMs, Promise.all([executor.close(), parts.mount.close()]));
    parts.logger.info({}, 'agent has stopped');
    resolve(0);
  };
  const { book, keeper, executor, podDuty } = inside;
  let ending: Promise<void> | undefined;
  return {
    listen,
    metrics,
    stopped,
    stop: () => (ending ??= end(book, keeper, executor)),
    hasStuckOperations: () => parts.gate.load.inside > 0,
  };
}

function makeApp(
  { config, reporter, mount }: Parts,
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
    mount: () => mount.watch.view,
    checkPod:
      config.executor === 'kubernetes' ? (wishes) => void checkPod(wishes, config.podPolicy) : undefined,
    version: VERSION,
    observe: (event) => reporter.api(event),
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
  { metrics, gate, mount }: Parts,
  inside: Inside | undefined,
  accept: string | undefined,
): Promise<{ type: string; text: string }> {
  const { inside: inFlight, overdue, oldestSeconds } = gate.load;
  const readers = {
    longshore_volume_operations_in_flight: () => inFlight,
    longshore_volume_operations_overdue: () => overdue,
    longshore_volume_oldest_operation_seconds: () => oldestSeconds,
    longshore_mount_verdict: () => verdictCounts(mount.watch.belief()),
    longshore_mount_probes_held: () => mount.watch.view.leaked,
    longshore_staging_uploads_in_flight: () => inside?.blobs.space.load.uploads ?? 0,
    longshore_pods: () => inside?.pods() ?? new Map<string, number>(),
    longshore_scripts: () => inside?.book.counts ?? new Map<string, number>(),
  };
  return metrics.render(readers, accept);
}

function verdictCounts({ verdict }: Belief): ReadonlyMap<string, number> {
  return new Map(VERDICTS.map((name) => [name, name === verdict ? 1 : 0]));
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
