import { addressOf, type Config } from './config.ts';
import { Gate, type GateEvent } from './mount/gate.ts';
import { openState } from './mount/agent-state.ts';
import { ensureLayout, findOrCreateEpoch } from './mount/epoch.ts';
import { Volume } from './mount/volume.ts';
import { VolumeLayout } from './protocol/volume-layout.ts';
import { BlobStore } from './staging/blob-store.ts';
import { PackageStore } from './staging/package-store.ts';
import { AgentLines } from './scripts/agent-lines.ts';
import { ScriptBook } from './scripts/script-book.ts';
import { ScriptKeeper } from './scripts/script-keeper.ts';
import type { ScriptLimits, ScriptRoom } from './scripts/script-room.ts';
import { TicketRecords } from './scripts/ticket-record.ts';
import { makeLogger, type Logger } from './telemetry/logger.ts';
import { Metrics } from './telemetry/metrics.ts';
import { MetricsServer } from './telemetry/metrics-server.ts';

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

export function limitsFrom(config: Config): ScriptLimits {
  const { maxScripts, isolationTimeoutSeconds, drainMs, journalMaxBytes, launchTimeoutMs, reconcileMs } = config;
  return {
    ...{ maxScripts, isolationTimeoutSeconds, drainMs, journalMaxBytes, launchTimeoutMs, reconcileMs },
    defaultDeadlineMs: config.defaultDeadlineSeconds * 1000,
    defaultGraceMs: config.defaultGraceSeconds * 1000,
    volumeDeadlineMs: config.volumeDeadlineMs,
  };
}
