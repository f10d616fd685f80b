import { promises as fs } from 'node:fs';

/** One mount of this process, as the kernel tells it. */
export interface MountFacts {
  readonly mountPoint: string;
  /** The folder of the file system that is seen there: `/`, or another one for a bind mount and a subPath. */
  readonly root: string;
  readonly fileSystem: string;
  readonly source: string;
  /** Options of the mount and of the file system together; those without a value have an empty one. */
  readonly options: ReadonlyMap<string, string>;
}

/** File systems that only this machine changes, where inotify(7) hears of everything. Any other is taken for shared. */
const LOCAL_FILE_SYSTEMS: ReadonlySet<string> = new Set([
  ...['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'f2fs', 'zfs', 'bcachefs', 'jfs'],
  ...['tmpfs', 'ramfs', 'overlay', 'vfat', 'exfat'],
]);

/** procfs answers from memory, so that this never waits for a server. */
const MOUNTINFO = '/proc/self/mountinfo';

/**
 * Parses /proc/self/mountinfo; lines that are none are left out.
 *
 * Source: proc(5), "/proc/pid/mountinfo".
 */
export function parseMountInfo(text: string): MountFacts[] {
  return text.split('\n').flatMap((line) => parseLine(line) ?? []);
}

/** The mount that holds an absolute path without links; of mounts over each other the one on top. */
export function mountOf(mounts: readonly MountFacts[], path: string): MountFacts | undefined {
  let found: MountFacts | undefined;
  for (const mount of mounts) {
    const holds =
      mount.mountPoint === '/' || path === mount.mountPoint || path.startsWith(`${mount.mountPoint}/`);
    // The kernel lists them in the order in which they were made: of equal ones the later hides the earlier.
    if (holds && mount.mountPoint.length >= (found?.mountPoint.length ?? 0)) found = mount;
  }
  return found;
}

/** Reads what is mounted at `folder`, an absolute path without links; undefined where no kernel says it. */
export async function readMountFacts(folder: string): Promise<MountFacts | undefined> {
  try {
    return mountOf(parseMountInfo(await fs.readFile(MOUNTINFO, 'utf8')), folder);
  } catch {
    // No procfs here: what is not known of the mount is no evidence against it.
    return undefined;
  }
}

/** Tells whether machines that the kernel here does not know of may change the files of a file system. */
export function isNetworkFileSystem(fileSystem: string): boolean {
  return !LOCAL_FILE_SYSTEMS.has(fileSystem);
}

/** The server of an NFS mount: the name that was mounted, and the address that the mount is bound to for ever. */
export function nfsServerOf(mount: MountFacts): { name: string; address: string; port: number } | undefined {
  const address = mount.options.get('addr');
  if (!/^nfs4?$/.test(mount.fileSystem) || address === undefined) return undefined;
  const name = /^(?:\[([^\]]+)\]|([^/]+?)):\//.exec(mount.source);
  const port = Number(mount.options.get('port') ?? NFS_PORT);
  return {
    name: name?.[1] ?? name?.[2] ?? address,
    address,
    // 0 stands for "ask the port mapper", which for version 4 is the well-known one.
    port: Number.isInteger(port) && port > 0 ? port : NFS_PORT,
  };
}

const NFS_PORT = 2049;

/** `36 35 98:0 /root /point opts tag… - type source super-opts`; the tags before the dash may be any number. */
function parseLine(line: string): MountFacts | undefined {
  const fields = line.split(' ');
  const dash = fields.indexOf('-', 6);
  const [root, mountPoint, own] = fields.slice(3, 6);
  const [fileSystem, source, shared = ''] = dash < 0 ? [] : fields.slice(dash + 1);
  if (root === undefined || !mountPoint?.startsWith('/') || own === undefined) return undefined;
  if (fileSystem === undefined || source === undefined) return undefined;
  return {
    mountPoint: unescaped(mountPoint),
    root: unescaped(root),
    fileSystem,
    source: unescaped(source),
    options: new Map([...optionsIn(own), ...optionsIn(shared)]),
  };
}

function optionsIn(text: string): [string, string][] {
  return text
    .split(',')
    .filter((option) => option !== '')
    .map((option) => {
      const [name = '', ...value] = option.split('=');
      return [unescaped(name), unescaped(value.join('='))];
    });
}

/** Blank, tab, line end and backslash come as three octal digits; bytes of other characters come as they are. */
function unescaped(text: string): string {
  return text.replace(/\\([0-3][0-7]{2})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
