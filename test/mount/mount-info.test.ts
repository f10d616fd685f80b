/** What the kernel says of mounts. */
import fc from 'fast-check';
import { test } from 'tap';
import {
  isNetworkFileSystem,
  mountOf,
  nfsServerOf,
  parseMountInfo,
  readMountFacts,
  type MountFacts,
} from '../../src/mount/mount-info.ts';

const NFS_LINE =
  '512 480 0:61 /data /srv/volume rw,relatime shared:7 master:3 - nfs4 10.96.0.7:/ ' +
  'rw,vers=4.1,rsize=1048576,hard,proto=tcp,timeo=600,retrans=2,sec=sys,clientaddr=10.0.0.3,lookupcache=none,local_lock=none,addr=10.96.0.7';

function one(line: string): MountFacts {
  const [found, ...others] = parseMountInfo(line);
  if (found === undefined || others.length > 0) throw new Error(`not one mount: ${line}`);
  return found;
}

test('parseMountInfo() reads an NFS mount with all its options', async (t) => {
  const mount = one(NFS_LINE);
  t.match(mount, {
    mountPoint: '/srv/volume',
    root: '/data',
    fileSystem: 'nfs4',
    source: '10.96.0.7:/',
  });
  const options = Object.fromEntries(mount.options);
  t.match(options, { addr: '10.96.0.7', vers: '4.1', hard: '', timeo: '600', lookupcache: 'none' });
});

test('parseMountInfo() reads lines without tags and with many, and leaves out what is no mount', async (t) => {
  const text = [
    '36 35 98:0 / / rw - ext4 /dev/root rw',
    '37 35 98:0 / /a rw shared:1 master:2 propagate_from:3 unbindable - tmpfs tmpfs rw',
    'nonsense',
    '',
    '38 35 98:0 / relative rw - ext4 x rw',
    '39 35 98:0 / /cut rw -',
  ].join('\n');
  t.same(
    parseMountInfo(text).map(({ mountPoint, fileSystem }) => [mountPoint, fileSystem]),
    [
      ['/', 'ext4'],
      ['/a', 'tmpfs'],
    ],
  );
});

test('parseMountInfo() gives back every mount point that the kernel escapes, whatever is in it', async () => {
  const escaped = (path: string): string =>
    path.replace(/[ \t\n\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
  const part = fc.string({ unit: fc.constantFrom('a', ' ', '\t', '\n', '\\', '-', '=', ',', '0', '4', 'ü') });
  fc.assert(
    fc.property(fc.array(part), fc.array(part), (point, source) => {
      const mountPoint = `/${point.join('/')}`;
      const from = `x${source.join('/')}`;
      const mount = one(`1 2 0:3 / ${escaped(mountPoint)} rw - fuse.x ${escaped(from)} rw`);
      return mount.mountPoint === mountPoint && mount.source === from;
    }),
  );
});

test('parseMountInfo() never throws', async () => {
  fc.assert(fc.property(fc.string(), (text) => Array.isArray(parseMountInfo(text))));
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('1', '-', '/', '/a', 'rw', '', '\\', '\\040', ',', 'a=b')),
      (words) => Array.isArray(parseMountInfo(words.join(' '))),
    ),
  );
});

test('mountOf() finds the longest mount point that holds a path, and the later one of two on one place', async (t) => {
  const mounts = parseMountInfo(
    [
      '1 0 0:1 / / rw - ext4 root rw',
      '2 1 0:2 / /srv/volume rw - nfs4 old:/ rw',
      '3 1 0:3 / /srv rw - tmpfs x rw',
      '4 1 0:4 / /srv/volume rw - nfs4 new:/ rw',
      '5 1 0:5 / /srv/vol rw - tmpfs x rw',
    ].join('\n'),
  );
  const sourceAt = (path: string): string | undefined => mountOf(mounts, path)?.source;
  t.equal(sourceAt('/srv/volume'), 'new:/');
  t.equal(sourceAt('/srv/volume/longshore'), 'new:/');
  t.equal(sourceAt('/srv/volumes'), 'x');
  t.equal(sourceAt('/home'), 'root');
  t.equal(mountOf([], '/home'), undefined);
});

test('mountOf() never gives a mount that does not hold the path', async () => {
  const path = fc
    .array(fc.constantFrom('a', 'b', 'ab'), { maxLength: 4 })
    .map((parts) => `/${parts.join('/')}`);
  fc.assert(
    fc.property(fc.array(path), path, (points, wanted) => {
      const mounts = points.map((point) => one(`1 2 0:3 / ${point} rw - x y rw`));
      const holding = points.filter(
        (point) => point === '/' || wanted === point || wanted.startsWith(`${point}/`),
      );
      const longest = Math.max(-1, ...holding.map((point) => point.length));
      return (mountOf(mounts, wanted)?.mountPoint.length ?? -1) === longest;
    }),
  );
});

test('nfsServerOf() tells name, address and port of the server, and nothing of other file systems', async (t) => {
  const server = (source: string, options: string, fileSystem = 'nfs4') =>
    nfsServerOf(one(`1 2 0:3 / /v rw - ${fileSystem} ${source} ${options}`));
  t.same(server('nfs.default.svc:/', 'rw,addr=10.0.0.1'), {
    name: 'nfs.default.svc',
    address: '10.0.0.1',
    port: 2049,
  });
  t.same(server('[fd00::1]:/exports', 'rw,port=12049,addr=fd00::1'), {
    name: 'fd00::1',
    address: 'fd00::1',
    port: 12_049,
  });
  t.match(server('fd00::1:/x', 'rw,port=0,addr=fd00::1'), { name: 'fd00::1', port: 2049 });
  t.match(server('strange', 'rw,addr=10.0.0.1', 'nfs'), { name: '10.0.0.1' });
  t.equal(server('a:/', 'rw'), undefined);
  t.equal(server('//a/b', 'rw,addr=10.0.0.1', 'cifs'), undefined);
});

test('isNetworkFileSystem() takes every file system for shared that is not known to be local', async (t) => {
  for (const name of ['nfs', 'nfs4', 'cifs', 'ceph', 'fuse.sshfs', '9p', 'never-heard-of']) {
    t.ok(isNetworkFileSystem(name), name);
  }
  for (const name of ['ext4', 'xfs', 'tmpfs', 'overlay', 'btrfs']) t.notOk(isNetworkFileSystem(name), name);
});

test('readMountFacts() finds the mount of a folder of this machine', async (t) => {
  const mount = await readMountFacts('/proc/self');
  t.match(mount, { mountPoint: '/proc', fileSystem: 'proc' });
});
