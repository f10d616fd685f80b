/** What the cluster changes on the machine outside its own folder, and how that is taken back. */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command, succeeds } from './command.ts';
import { addressOf, network, nodeNames, places } from './places.ts';
import { eventually } from '../harness/eventually.ts';

/** A kubelet sets the first ones for the whole machine; two nodes need more of the last one. */
const settings = [
  'vm.overcommit_memory',
  'vm.panic_on_oom',
  'kernel.panic',
  'kernel.panic_on_oops',
  'kernel.keys.root_maxkeys',
  'kernel.keys.root_maxbytes',
  'fs.inotify.max_user_instances',
];
const settingsFile = join(places.run, 'sysctl.before');

/** Makes bridge, shared folder and settings; does nothing where they are there.
 *  @throws {Error} when the bridge is there and this cluster has not made it. */
export async function prepareMachine(): Promise<void> {
  const { bridge, host, services } = network;
  const hasBridge = await succeeds('ip', ['link', 'show', bridge]);
  if (hasBridge && !existsSync(settingsFile))
    throw new Error(`A test cluster of another folder runs here: its bridge ${bridge} is in the way`);
  mkdirSync(places.volumes, { recursive: true });
  if (!existsSync(settingsFile)) writeFileSync(settingsFile, await command('sysctl', settings));
  await command('sysctl', ['-qw', 'fs.inotify.max_user_instances=8192']);
  // Shared, so that a file system that is mounted below it later appears in the nodes, and in the pods that ask for it.
  if (!mounts().includes(places.volumes)) {
    await command('mount', ['--bind', places.volumes, places.volumes]);
    await command('mount', ['--make-shared', places.volumes]);
  }
  if (!hasBridge) await command('ip', ['link', 'add', bridge, 'type', 'bridge']);
  await command('ip', ['addr', 'replace', `${host}/24`, 'dev', bridge]);
  await command('ip', ['link', 'set', bridge, 'up']);
  // The machine reaches services through the kube-proxy of a node.
  const [first] = nodeNames;
  await command('ip', ['route', 'replace', services, 'via', addressOf(first).ip, 'dev', bridge]);
}

/** Takes all of it back, once every process of the cluster has ended; touches nothing that this cluster has not made. */
export async function restoreMachine(): Promise<void> {
  if (!existsSync(settingsFile)) return;
  for (const link of [...nodeNames.map((node) => addressOf(node).wire), network.bridge])
    await succeeds('ip', ['link', 'del', link]);
  for (const place of mounts().reverse()) await command('umount', ['--lazy', place]);
  await removeControlGroups();
  await command('sysctl', ['-q', '-p', settingsFile]);
}

/** The mounts below the folder of the cluster, in the order in which they were made. */
function mounts(): string[] {
  const escaped = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
  return escaped
    .map((place) =>
      place.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))),
    )
    .filter((place) => place.startsWith(`${places.run}/`));
}

/** A group goes only when its last process is gone, and the kernel takes its time with that. */
async function removeControlGroups(): Promise<void> {
  const groups = readdirSync('/sys/fs/cgroup').flatMap((hierarchy) =>
    nodeNames.map((node) => join('/sys/fs/cgroup', hierarchy, addressOf(node).cgroup)),
  );
  await eventually(() => {
    for (const group of groups) if (existsSync(group)) removeGroup(group);
    return groups.every((group) => !existsSync(group));
  }, 30_000);
}

function removeGroup(group: string): void {
  for (const entry of readdirSync(group, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroup(join(group, entry.name));
  try {
    rmdirSync(group);
  } catch {
    // Busy: looked at again.
  }
}

/** Removes the folder of the cluster that ran.
 *  @throws {Error} when something is still mounted below it, whose files this would remove. */
export function removeRun(): void {
  const [still] = mounts();
  if (still !== undefined) throw new Error(`${still} is still mounted, so ${places.run} is not removed`);
  rmSync(places.run, { recursive: true, force: true });
}
