/** What can happen to the storage under an agent, and what of it must not be noticed. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Lane, VolumeKind } from './lane.ts';

export interface Scenario {
  readonly name: string;
  /** What the data lies on before. */
  readonly volume: VolumeKind;
  /** Whether all data is there again at the end; whatever is seen meanwhile, the agent may not call it lost. */
  readonly keepsData: boolean;
  /** Whether the mount answers again by itself. */
  readonly returns: boolean;
  /** In the choice that runs with every change. */
  readonly short: boolean;
  /** Makes it happen; resolves when the server can be reached again, or never will be. */
  readonly happen: (lane: Lane) => Promise<void>;
}

/** Time that a kubelet needs to make a new pod of a server. */
const DOWN_MS = 8000;
const PARTITION_MS = 30_000;

async function restart(lane: Lane, end: 'stop' | 'kill', volume?: VolumeKind): Promise<void> {
  await lane.run(`server_${end} {}`);
  if (volume !== undefined) await lane.newVolume(volume);
  await pause(DOWN_MS);
  await lane.startServer();
}

export const scenarios: readonly Scenario[] = [
  {
    name: 'restarted with its data',
    volume: 'disk',
    keepsData: true,
    returns: true,
    short: true,
    happen: (lane) => restart(lane, 'stop'),
  },
  {
    name: 'killed and restarted with its data',
    volume: 'disk',
    keepsData: true,
    returns: true,
    short: false,
    happen: (lane) => restart(lane, 'kill'),
  },
  {
    name: 'restarted empty',
    volume: 'disk',
    keepsData: false,
    returns: true,
    short: true,
    happen: (lane) => restart(lane, 'stop', 'disk'),
  },
  {
    // The root of the new one has the inode number of the old one, and its clients see no error on it.
    name: 'restarted on a new file system',
    volume: 'tmpfs',
    keepsData: false,
    returns: true,
    short: false,
    happen: (lane) => restart(lane, 'kill', 'tmpfs'),
  },
  {
    name: 'gone for good',
    volume: 'disk',
    keepsData: false,
    returns: false,
    short: false,
    happen: async (lane) => {
      await lane.run('server_kill {}');
    },
  },
  {
    name: 'cut off for 30 s',
    volume: 'disk',
    keepsData: true,
    returns: true,
    short: false,
    happen: async (lane) => {
      await lane.run('way_cut {}');
      await pause(PARTITION_MS);
      await lane.run('way_heal {}');
    },
  },
];
