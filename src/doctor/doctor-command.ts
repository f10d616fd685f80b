import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { showJson, type Terminal } from '../client/terminal.ts';
import type { Config } from '../config.ts';
import { KubeConnection } from '../executors/kubernetes/connection.ts';
import { podUser } from '../executors/kubernetes/pod-user.ts';
import { TrialPods } from '../executors/kubernetes/trial-pods.ts';
import { Fault } from '../protocol/fault.ts';
import { examine, type DoctorOptions } from './doctor.ts';
import { reportText } from './report.ts';

export interface DoctorArguments {
  readonly json: boolean;
  readonly limitMs: number;
  /** Aborted by ^C. */
  readonly signal: AbortSignal;
}

const LEAST_LIMIT_MS = 5000;
/** What a shell says of a command that ^C ended. */
const INTERRUPTED = 130;

/**
 * Tests the volume of a configuration and prints what was found; returns the exit code.
 *
 * @throws {Fault} CONFIG_INVALID before anything is tried.
 */
export async function doctorCommand(
  config: Config,
  { json, limitMs, signal }: DoctorArguments,
  terminal: Terminal,
): Promise<number> {
  if (limitMs < LEAST_LIMIT_MS)
    throw new Fault(
      'CONFIG_INVALID',
      `--limit must be at least ${LEAST_LIMIT_MS / 1000}, not ${limitMs / 1000}`,
    );
  const program = fileURLToPath(import.meta.resolve('longshore/doctor-trials'));
  // Pods of a claim of one node are all on that node.
  const hasNodes = config.claim !== undefined && config.claimAccess === 'rwx';
  const connection = hasNodes ? await connect(config) : undefined;
  try {
    const report = await examine({
      volume: config.volume,
      program,
      reserveBytes: config.volumeReserveBytes,
      serverDeadlineMs: config.serverProbeDeadlineMs,
      ...{ limitMs, signal },
      ...(connection && { nodes: await nodesOf(config, connection, program) }),
    });
    if (json) await showJson(terminal, report);
    else terminal.out.write(`${reportText(report)}\n`);
    return signal.aborted ? INTERRUPTED : report.exitCode;
  } finally {
    await connection?.close();
  }
}

async function connect({ kubeconfig, namespace, apiDeadlineMs }: Config): Promise<KubeConnection> {
  const options = { kubeconfig, namespace, requestDeadlineMs: apiDeadlineMs };
  return KubeConnection.open({ ...options, observe: () => undefined });
}

async function nodesOf(
  config: Config,
  connection: KubeConnection,
  program: string,
): Promise<NonNullable<DoctorOptions['nodes']>> {
  const { claim, claimFolder, runnerImage, imagePullPolicy, podDefaults } = config;
  if (claim === undefined) throw new TypeError('there is a connection only with a claim');
  const setup = {
    ...{ claim, runnerImage, imagePullPolicy, podDefaults, ...podUser(config) },
    ...(claimFolder !== undefined && { claimFolder }),
  };
  const run = randomBytes(4).toString('hex');
  return { pods: new TrialPods(connection, setup, run), program: await readFile(program, 'utf8') };
}
