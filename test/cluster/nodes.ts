/** The two nodes: their life, and their wire to the machine. What runs inside is node.sh. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { eventually } from '../harness/eventually.ts';
import { binary } from './binaries.ts';
import { command, succeeds } from './command.ts';
import type { CommandOptions } from './command.ts';
import { pidOf, start, stop } from './daemon.ts';
import { configure, environmentOf, folderOf } from './node-settings.ts';
import { addressOf, network, nodeNames, places } from './places.ts';
import type { NodeName } from './places.ts';

export type NodeProgram = 'containerd' | 'kubelet' | 'kube-proxy';

const holdFile = (node: NodeName, program: NodeProgram): string => join(folderOf(node), 'hold', program);

/** Starts the node when it does not run, and returns when its containerd answers. Its kubelet waits for `release`. */
export async function startNode(node: NodeName): Promise<void> {
  if (pidOf(node) === undefined) {
    configure(node);
    for (const program of ['kubelet', 'kube-proxy'] as const) hold(node, program);
    const assignments = Object.entries(environmentOf(node)).map(([name, value]) => `${name}=${value}`);
    start(node, 'env', [...assignments, 'bash', join(places.sources, 'node.sh'), 'enter']);
    await plugIn(node);
  }
  await containerdReady(node);
}

export async function containerdReady(node: NodeName): Promise<void> {
  await eventually(() => succeedsIn(node, [binary('ctr'), 'version']), 60_000);
}

/** Lets a program of the node run. */
export function release(node: NodeName, program: NodeProgram): void {
  rmSync(holdFile(node, program), { force: true });
}

/** Keeps a program of the node down, once it has ended. */
export function hold(node: NodeName, program: NodeProgram): void {
  writeFileSync(holdFile(node, program), '');
}

/** Kills a program of the node; unless it is held, node.sh starts it again at once. */
export async function kill(node: NodeName, program: NodeProgram): Promise<void> {
  const pid = readFileSync(join(folderOf(node), 'pid', program), 'utf8').trim();
  await inNode(node, ['kill', '-KILL', pid]);
  await eventually(async () => !(await succeedsIn(node, ['kill', '-0', pid])), 10_000);
}

/** Ends all of the node at once. */
export async function cutPower(node: NodeName): Promise<void> {
  await stop(node, 0);
}

/** Runs a program in the namespaces of the node, and returns what it wrote to stdout. */
export async function inNode(
  node: NodeName,
  [program = '', ...args]: readonly string[],
  options?: CommandOptions,
): Promise<string> {
  return command('nsenter', [...enter(node), program, ...args], options);
}

/** Makes the images of an archive (OCI or docker) known to both nodes; does nothing when they have this very file. */
export async function importImage(archive: string): Promise<void> {
  const { mtimeMs, size } = statSync(archive);
  const [known, mark] = [join(places.run, 'imported', basename(archive)), `${archive} ${mtimeMs} ${size}`];
  if (existsSync(known) && readFileSync(known, 'utf8') === mark) return;
  const args = [binary('ctr'), '-n', 'k8s.io', 'images', 'import', archive];
  await Promise.all(nodeNames.map((node) => inNode(node, args, { deadlineMs: 300_000 })));
  mkdirSync(dirname(known), { recursive: true });
  writeFileSync(known, mark);
}

const succeedsIn = async (node: NodeName, args: readonly string[]): Promise<boolean> =>
  succeeds('nsenter', [...enter(node), ...args]);

function enter(node: NodeName): string[] {
  const first = firstProcess(node);
  if (first === undefined) throw new Error(`${node} does not run: see ${join(places.log, `${node}.log`)}`);
  return ['--target', String(first), '--mount', '--uts', '--ipc', '--net', '--pid', '--cgroup', '--'];
}

/** The node's process 1, as the machine counts: the child of the `unshare` that was started. */
function firstProcess(node: NodeName): number | undefined {
  const pid = pidOf(node);
  if (pid === undefined) return undefined;
  const children = `/proc/${pid}/task/${pid}/children`;
  const [first = ''] = existsSync(children) ? readFileSync(children, 'utf8').split(' ') : [];
  return first === '' ? undefined : Number(first);
}

/** Lays a wire between the bridge and the node's eth0, for which node.sh waits. */
async function plugIn(node: NodeName): Promise<void> {
  const { wire, pods, ip } = addressOf(node);
  const unshared = async () =>
    (await command('ps', ['-o', 'comm=', '-p', String(pidOf(node))])).trim() === 'unshare';
  await eventually(async () => (await unshared()) && firstProcess(node) !== undefined, 20_000);
  // The last wire of a node that lost its power may not be gone yet.
  await succeeds('ip', ['link', 'del', wire]);
  const peer = ['type', 'veth', 'peer', 'name', 'eth0', 'netns', String(firstProcess(node))];
  await command('ip', ['link', 'add', wire, ...peer]);
  await command('ip', ['link', 'set', wire, 'master', network.bridge, 'up']);
  await command('ip', ['route', 'replace', pods, 'via', ip, 'dev', network.bridge]);
}
