import { randomBytes } from 'node:crypto';
import { readMountFacts, type MountFacts } from '../mount/mount-info.ts';
import { ServerLook } from '../mount/server-look.ts';
import { VolumeLayout } from '../protocol/volume-layout.ts';
import type { Finding } from './finding.ts';
import { mountFindings, serverFindings } from './mount-findings.ts';
import { optionsText } from './mount-options.ts';
import { NodeTrials, type NodeTrialsOptions } from './node-trials.ts';
import { reportOf, type Report } from './report.ts';
import { TrialChild } from './trial-child.ts';
import { VolumeTrials } from './volume-trials.ts';

export interface DoctorOptions {
  /** Absolute path of the folder that the volume is mounted at. */
  readonly volume: string;
  /** The bundle of the trials, on local disk. */
  readonly program: string;
  readonly reserveBytes: number;
  readonly serverDeadlineMs: number;
  /** For all of it, with what is removed at the end. */
  readonly limitMs: number;
  /** Ends it early: what was made is removed all the same. */
  readonly signal: AbortSignal;
  /** Where the claim can be tried from two nodes. */
  readonly nodes?: Pick<NodeTrialsOptions, 'pods' | 'program'>;
}

/** Of the limit, for cleaning up: a trial that hangs, a child that starts anew, pods that are deleted. */
const CLEAN_MS = 5000;

/**
 * Tests a volume for what Longshore assumes of it, from this machine and from two nodes at once.
 *
 * It touches the volume only by children that are killed when they hang, needs no agent, and disturbs none. Never rejects
 * for what the volume or the cluster do.
 */
export async function examine(options: DoctorOptions): Promise<Report> {
  const { volume, program, limitMs, signal, nodes } = options;
  const [startedAtMs, begun] = [Date.now(), performance.now()];
  const untilMs = begun + Math.max(limitMs - CLEAN_MS, limitMs / 2);
  const word = (): string => randomBytes(8).toString('hex');
  const child = new TrialChild(program);
  let mount: MountFacts | undefined;
  const looks: Promise<Finding[]>[] = [];
  const lookAt = async (path: string): Promise<Finding[]> => {
    mount = await readMountFacts(path);
    return [...mountFindings(mount), ...(await serverOf(mount, options))];
  };
  const trials = new VolumeTrials({
    ...{ child, volume, untilMs, signal },
    folder: new VolumeLayout(volume).doctorFolder(word()),
    limits: { reserveBytes: options.reserveBytes },
    answered: (realPath) => looks.push(lookAt(realPath)),
  });
  const mountOptions = (): string | undefined => mount && optionsText(mount);
  const [tried, betweenNodes] = await Promise.all([
    trials.run(),
    nodes ? new NodeTrials({ ...nodes, word: word(), untilMs, signal, mountOptions }).run() : [],
  ]);
  child.kill();
  // A volume that does not answer is looked at by the name that it was given.
  if (looks.length === 0) looks.push(lookAt(volume));
  const looked = (await Promise.all(looks)).flat();
  const seconds = (performance.now() - begun) / 1000;
  return reportOf([...tried, ...looked, ...betweenNodes], { volume, startedAtMs, seconds });
}

async function serverOf(mount: MountFacts | undefined, options: DoctorOptions): Promise<Finding[]> {
  const { serverDeadlineMs: deadlineMs, signal } = options;
  const owner = `longshore-doctor-${randomBytes(8).toString('hex')}`;
  const look = new ServerLook({ owner, deadlineMs, now: Date.now });
  return serverFindings(await look.look(mount, signal));
}
