/** What the machine must have before anything is built or started. */
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { command } from './command.ts';

/** Program → the Debian package that holds it. */
const programs: Readonly<Record<string, string>> = {
  buildah: 'buildah',
  busybox: 'busybox-static',
  conntrack: 'conntrack',
  debootstrap: 'debootstrap',
  ip: 'iproute2',
  iptables: 'iptables',
  mount: 'mount',
  nsenter: 'util-linux',
  openssl: 'openssl',
  runc: 'runc',
  socat: 'socat',
  sysctl: 'procps',
};
/** Folder of the CNI plugins in Debian's package containernetworking-plugins. */
const cniBridge = '/usr/lib/cni/bridge';
const oldestGo = 24;

/** Whether a program can be run, wherever Debian has put it. */
export function has(program: string): boolean {
  // apt puts some of them where the PATH of a shell need not look.
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

async function missingGo(): Promise<string[]> {
  const version = await command('go', ['env', 'GOVERSION']).catch(() => '');
  const minor = Number(/^go1\.(\d+)/.exec(version)?.[1] ?? 0);
  if (minor >= oldestGo) return [];
  return [`Go 1.${oldestGo} or newer${version === '' ? '' : ` (this is ${version.trim()})`}`];
}

/** Says in one sentence what is missing; undefined when all is there. */
export async function missing(): Promise<string | undefined> {
  const packages = Object.entries(programs).flatMap(([program, owner]) => (has(program) ? [] : [owner]));
  if (!existsSync(cniBridge)) packages.push('containernetworking-plugins');
  const lacks = [
    ...(process.platform === 'linux' && process.arch === 'x64' ? [] : ['Linux on x86-64']),
    ...(process.getuid?.() === 0 ? [] : ['root']),
    // Our nodes get control groups of version 1; the way for version 2 has not been made.
    ...(existsSync('/sys/fs/cgroup/memory') ? [] : ['control groups of version 1']),
    ...(packages.length > 0 ? [`the Debian packages ${packages.sort().join(' ')}`] : []),
    ...(await missingGo()),
  ];
  return lacks.length === 0 ? undefined : `The test cluster needs ${lacks.join(', ')}.`;
}
