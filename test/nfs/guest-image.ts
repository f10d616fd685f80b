/** The guest: a Debian on a disk, its kernel, and a ramdisk that finds the disk. Made once, and again when this file changes. */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { command } from '../cluster/command.ts';
import { places } from './places.ts';

const BUILD_DEADLINE_MS = 900_000;
/** What the debootstrap of the machine adds to a smallest Debian. */
const packages = [
  'busybox-static',
  'cpio',
  'iproute2',
  'kmod',
  'libstdc++6',
  'linux-image-cloud-amd64',
  'nfs-common',
  'nfs-ganesha',
  'nfs-ganesha-vfs',
  'nfs-kernel-server',
  'procps',
  'rpcbind',
  'socat',
  'util-linux',
];
/** Without these, the ramdisk does not find the disk. */
const ramdiskModules = ['virtio_pci', 'virtio_blk', 'ext4'];
/** First process of the disk: what it starts lies on the disk of the project, so that this one stays as it is. */
const init = `#!/bin/sh
mount /dev/vdb /longshore
exec /longshore/lab/init.sh
`;

/** Builds what is missing or was built from another recipe. The first time needs the network, for Debian's packages. */
export async function buildGuest(say: (line: string) => void): Promise<void> {
  const stamp = createHash('sha256')
    .update(JSON.stringify([packages, ramdiskModules, init, ramdiskInit([])]))
    .digest('hex');
  const stampFile = join(places.root, 'guest.stamp');
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) return;
  const startedAt = performance.now();
  // What is half made has no stamp, and is made anew.
  rmSync(stampFile, { force: true });
  rmSync(places.debian, { recursive: true, force: true });
  mkdirSync(places.debian, { recursive: true });
  await command(
    'debootstrap',
    ['--variant=minbase', `--include=${packages.join(',')}`, 'bookworm', places.debian],
    { deadlineMs: BUILD_DEADLINE_MS },
  );
  const [release] = readdirSync(join(places.debian, 'lib/modules'));
  if (release === undefined) throw new Error('debootstrap has installed no kernel');
  copyFileSync(join(places.debian, 'boot', `vmlinuz-${release}`), places.kernel);
  await makeRamdisk(release);
  await makeDisk();
  rmSync(places.debian, { recursive: true });
  writeFileSync(stampFile, stamp);
  say(`made the guest in ${((performance.now() - startedAt) / 1000).toFixed(0)} s`);
}

async function makeRamdisk(release: string): Promise<void> {
  const folder = join(places.debian, 'ramdisk');
  for (const part of ['bin', 'modules', 'root', 'dev', 'proc'])
    mkdirSync(join(folder, part), { recursive: true });
  copyFileSync(join(places.debian, 'bin/busybox'), join(folder, 'bin/busybox'));
  const inDebian = (...args: string[]): Promise<string> => command('chroot', [places.debian, ...args]);
  const modules: string[] = [];
  for (const module of ramdiskModules)
    for (const [, path = ''] of (
      await inDebian('modprobe', '-S', release, '--show-depends', module)
    ).matchAll(/^insmod (\S+)/gm))
      if (!modules.includes(path)) modules.push(path);
  for (const path of modules)
    copyFileSync(join(places.debian, path), join(folder, 'modules', basename(path)));
  writeFileSync(join(folder, 'init'), ramdiskInit(modules.map((path) => basename(path))));
  chmodSync(join(folder, 'init'), 0o755);
  await inDebian(
    'sh',
    '-c',
    'cd /ramdisk && find . | cpio --create --format=newc --quiet | gzip -1 >/ramdisk.img',
  );
  renameSync(join(places.debian, 'ramdisk.img'), places.ramdisk);
  rmSync(folder, { recursive: true });
}

function ramdiskInit(modules: readonly string[]): string {
  return `#!/bin/busybox sh
for module in ${modules.join(' ')}; do /bin/busybox insmod /modules/$module; done
/bin/busybox mount -t devtmpfs dev /dev
while [ ! -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/longshore-init
`;
}

async function makeDisk(): Promise<void> {
  for (const unwanted of ['var/cache/apt', 'var/lib/apt/lists', 'usr/share/doc', 'usr/share/man', 'boot'])
    rmSync(join(places.debian, unwanted), { recursive: true, force: true });
  mkdirSync(join(places.debian, 'longshore'));
  writeFileSync(join(places.debian, 'sbin/longshore-init'), init, { mode: 0o755 });
  await makeFileSystem(places.disk, places.debian, 512);
}

/** Makes a disk image with the files of a folder and `freeMib` for others. */
export async function makeFileSystem(image: string, folder: string, freeMib: number): Promise<void> {
  const used = Number((await command('du', ['-sm', folder])).split('\t')[0]);
  rmSync(image, { force: true });
  // Nothing of it outlives a guest, so that a journal would only cost time.
  const features = ['-q', '-O', '^has_journal', '-d', folder];
  await command('mkfs.ext4', [...features, image, `${Math.ceil(used * 1.1) + freeMib}M`], {
    deadlineMs: 300_000,
  });
}
