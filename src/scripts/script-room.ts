import type { Config } from '../config.ts';
import type { Executor } from '../executors/executor.ts';
import { refusalFor, type MountTrust } from '../mount/mount-trust.ts';
import type { Volume } from '../mount/volume.ts';
import { Fault } from '../protocol/fault.ts';
import type { MountLimits } from '../protocol/mount-belief.ts';
import { scriptSealKey, type AgentKey } from '../protocol/seal.ts';
import type { ScriptKey } from '../protocol/ticket.ts';
import type { BlobStore } from '../staging/blob-store.ts';
import type { PackageStore } from '../staging/package-store.ts';
import type { AgentLines } from './agent-lines.ts';
import type { KeptScripts } from './kept-scripts.ts';
import type { ObserveScripts } from './script-events.ts';
import type { TicketRecords } from './ticket-record.ts';

/** Bounds of this room, all from the configuration. */
export interface ScriptLimits {
  readonly maxScripts: number;
  readonly defaultDeadlineMs: number;
  readonly defaultGraceMs: number;
  readonly isolationTimeoutSeconds: number;
  readonly drainMs: number;
  readonly journalMaxBytes: number;
  readonly volumeDeadlineMs: number;
  /** When a runner believes what of its mount. */
  readonly mount: MountLimits;
  /** Of a script that works on local disk: see CopyOrder. */
  readonly copyMaxBytes: number;
  readonly collectMs: number;
  /** From handing a script to the executor until its runner has taken the claim. */
  readonly launchTimeoutMs: number;
  /** How long nothing may happen before the volume is asked again what is true. */
  readonly reconcileMs: number;
}

/** What every part of this room works with. */
export interface ScriptRoom {
  readonly volume: Volume;
  readonly stores: { readonly blobs: BlobStore; readonly packages: PackageStore };
  readonly records: TicketRecords;
  readonly lines: AgentLines;
  readonly executor: Executor;
  readonly agentKey: AgentKey;
  /** What is believed of the volume, and the epoch of its content. */
  readonly mount: MountTrust;
  /** Scripts whose volume was lost under them. */
  readonly kept: KeptScripts;
  readonly limits: ScriptLimits;
  readonly now: () => Date;
  readonly observe: ObserveScripts;
}

/** The epoch that a runner must find. @throws {Fault} AGENT_STARTING before one was found. */
export function epochOf({ mount }: ScriptRoom): string {
  const epoch = mount.epoch();
  if (epoch !== undefined) return epoch;
  throw new Fault('AGENT_STARTING', 'the agent has not found the epoch of the volume yet');
}

/**
 * Returns when it is proven that what is absent on the volume is absent, and not the volume (invariant 6).
 *
 * @throws {Fault} the STORAGE_ code of what is believed otherwise.
 */
export async function proveAbsence({ mount, limits }: Pick<ScriptRoom, 'mount' | 'limits'>): Promise<void> {
  const refusal = refusalFor(await mount.confirm(), Math.ceil(limits.reconcileMs / 1000));
  if (refusal) throw refusal;
}

/** The key that seals the journal of a script. */
export function journalKeyOf(room: ScriptRoom, key: ScriptKey): Buffer {
  return scriptSealKey(room.agentKey, key, 'journal');
}

/** The mark that the processes of a script carry; the same after a restart of the agent. */
export function cookieOf(room: ScriptRoom, key: ScriptKey): string {
  return scriptSealKey(room.agentKey, key, 'cookie').toString('hex').slice(0, 32);
}

/** The bounds of this room as the configuration has them. */
export function scriptLimitsFrom(config: Config): ScriptLimits {
  const { maxScripts, isolationTimeoutSeconds, drainMs, journalMaxBytes, launchTimeoutMs, reconcileMs } =
    config;
  const { copyMaxBytes, collectMs } = config;
  const { probeIntervalMs, probeDeadlineMs, staleAfterMs, absentAgainMs, stallLimitMs } = config;
  return {
    ...{ maxScripts, isolationTimeoutSeconds, drainMs, journalMaxBytes, launchTimeoutMs, reconcileMs },
    ...{ copyMaxBytes, collectMs },
    mount: { probeIntervalMs, probeDeadlineMs, staleAfterMs, absentAgainMs, stallLimitMs },
    defaultDeadlineMs: config.defaultDeadlineSeconds * 1000,
    defaultGraceMs: config.defaultGraceSeconds * 1000,
    volumeDeadlineMs: config.volumeDeadlineMs,
    ...(config.executor === 'kubernetes' && { launchTimeoutMs: config.podLaunchTimeoutMs }),
  };
}
