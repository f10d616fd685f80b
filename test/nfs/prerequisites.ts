/** What the machine must have before anything is built or started. */
import { has } from '../cluster/prerequisites.ts';

/** Program → the Debian package that holds it. */
const programs: Readonly<Record<string, string>> = {
  debootstrap: 'debootstrap',
  'ganesha.nfsd': 'nfs-ganesha',
  'mkfs.ext4': 'e2fsprogs',
  nice: 'coreutils',
  'qemu-system-x86_64': 'qemu-system-x86',
  setpriv: 'util-linux',
};

/** Says in one sentence what is missing; undefined when all is there. */
export function missing(): string | undefined {
  const packages = Object.entries(programs).flatMap(([program, owner]) => (has(program) ? [] : [owner]));
  const lacks = [
    ...(process.platform === 'linux' && process.arch === 'x64' ? [] : ['Linux on x86-64']),
    ...(process.getuid?.() === 0 ? [] : ['root']),
    ...(packages.length > 0 ? [`the Debian packages ${packages.sort().join(' ')}`] : []),
  ];
  return lacks.length === 0 ? undefined : `The NFS laboratory needs ${lacks.join(', ')}.`;
}
