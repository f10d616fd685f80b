/** Where the laboratory lies on this machine, and the addresses inside its guest. */
import { join, resolve } from 'node:path';

/** Outlives a run; LONGSHORE_NFS_DIR moves it. */
const root = resolve(process.env['LONGSHORE_NFS_DIR'] ?? '/var/cache/longshore-nfs');

export const places = {
  root,
  /** Debian as a folder, from which the disk is made. */
  debian: join(root, 'debian'),
  disk: join(root, 'guest.img'),
  kernel: join(root, 'vmlinuz'),
  ramdisk: join(root, 'ramdisk.img'),
  /** Longshore as it is built now, and the scripts of the guest. */
  projectDisk: join(root, 'project.img'),
  /** The packages that Longshore needs at run time, and its Node. */
  packagesDisk: join(root, 'packages.img'),
  /** A row for each scenario that a run has seen, one JSON object a line. */
  rows: join(root, 'rows.jsonl'),
  /** What the guest said at its last boots, one file a scenario. */
  logs: join(root, 'logs'),
  /** The sources beside this file; the program is started in the folder of the project. */
  sources: resolve('test/nfs'),
} as const;

/** Where the guest takes commands. */
export const control = { address: '10.0.2.15', port: 7000 } as const;

/** Lanes of a guest; each is an NFS server and a client with one mount and one agent on it. */
export const laneNumbers = [1, 2, 3, 4] as const;
export type LaneNumber = (typeof laneNumbers)[number];

/** The addresses of a lane; guest/lab.sh has the same ones. */
export function addressesOf(lane: LaneNumber): { readonly server: string; readonly client: string } {
  return { server: `10.99.${lane}.2`, client: `10.0.2.${20 + lane}` };
}

export const agentPorts = { http: 8460, metrics: 8461 } as const;
