/** The volume with faults is a file system that can be believed where no fault was asked for, and fails as it was told. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { promises as fs, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { test, type Test } from 'tap';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';
import { CHANGES, type FaultRule } from './fault-rules.ts';
import { FaultyMount, missingForFaults } from './faulty-mount.ts';

const skip = missingForFaults() ?? false;
const run = promisify(execFile);

async function mounted(t: Test): Promise<FaultyMount> {
  return FaultyMount.start(t, temporaryFolder(t, 'longshore-faults'));
}

/** The errno of what `work` fails with; 0 where it succeeds. */
async function errnoOf(work: Promise<unknown>): Promise<number> {
  try {
    await work;
    return 0;
  } catch (error) {
    return Math.abs((error as NodeJS.ErrnoException).errno ?? Number.NaN);
  }
}

test('a volume without faults is told from a local folder by no call', { skip }, async (t) => {
  const mount = await mounted(t);
  const script = `
    set -e; umask 027; cd "$1"
    mkdir -p a/b; echo one > a/b/f; chmod 640 a/b/f; ln a/b/f a/hard; ln -s b/f a/soft
    stat -c '%n %A %h %s %F' a a/b a/b/f a/hard a/soft; readlink a/soft; cat a/soft a/hard
    echo two >> a/b/f; truncate -s 5 a/hard; od -c a/b/f; mv a/b/f a/b/g; cat a/b/g; ls -A a a/b
    touch -d '2001-02-03 04:05:06 UTC' a/hard; TZ=UTC stat -c %y a/b/g
    exec 5<> a/b/open; echo kept >&5; rm a/b/open; cat /proc/self/fd/5 | od -c; stat -L -c %h /proc/self/fd/5; exec 5>&-
    mkdir full; echo x > full/x; rmdir full 2>&1 || true; mv -T a/b full 2>&1 || true
    (set -C; echo never > a/b/g) 2>&1 | sed 's/.*: //'
    dd if=/dev/zero of=big bs=1M count=3 conv=fsync status=none; sha256sum big; cp big copy; cmp big copy
    for i in $(seq 200); do : > "full/name-of-a-file-that-is-longer-than-most-names-$i"; done; ls full | wc -l
    printf '#!/bin/sh\\necho runs $0\\n' > run; chmod +x run; ./run; rm -r full; find . | sort`;
  const local = temporaryFolder(t);
  const there = await run('bash', ['-c', script, 'bash', mount.volume]);
  const here = await run('bash', ['-c', script, 'bash', local]);
  t.equal(there.stdout, here.stdout);
  t.equal(there.stderr, here.stderr);
  t.strictSame((await fs.readdir(mount.behind)).sort(), (await fs.readdir(mount.volume)).sort());
});

test('files belong to who made them, and the rights of others end where they do', { skip }, async (t) => {
  const mount = await mounted(t);
  await fs.chmod(join(mount.volume, '..'), 0o755);
  await fs.chmod(mount.volume, 0o1777);
  const user = { uid: 4321, gid: 4321 };
  const script = 'umask 022; mkdir own; echo 1 > own/file; stat -c "%u %g %A" own own/file';
  const { stdout } = await run('bash', ['-c', script], { cwd: mount.volume, ...user });
  t.equal(stdout, '4321 4321 drwxr-xr-x\n4321 4321 -rw-r--r--\n');
  await fs.writeFile(join(mount.volume, 'secret'), 'x', { mode: 0o600 });
  const denied = await run('cat', ['secret'], { cwd: mount.volume, ...user }).catch(
    (error: unknown) => error,
  );
  t.match(denied, { message: /Permission denied/ });
});

test('exclusive creation has one winner, and rename replaces in one step', { skip }, async (t) => {
  const mount = await mounted(t);
  const path = join(mount.volume, 'claim');
  const script = `for i in $(seq 50); do (set -C; echo $$ > ${path}-$i) 2>/dev/null && echo won; done; true`;
  const outputs = await Promise.all(Array.from({ length: 8 }, () => run('bash', ['-c', script])));
  t.equal(outputs.flatMap(({ stdout }) => stdout.match(/won/g) ?? []).length, 50);
  const reads = `for i in $(seq 200); do cat ${path} || echo missing; done`;
  await fs.writeFile(path, 'a\n');
  const writes = `for i in $(seq 100); do echo $i > ${path}.new; mv ${path}.new ${path}; done`;
  const [read] = await Promise.all([run('bash', ['-c', reads]), run('bash', ['-c', writes])]);
  t.notMatch(read.stdout, /missing/);
});

test('an errno meets the calls and paths that it was asked for, and no other', { skip }, async (t) => {
  const mount = await mounted(t);
  const [hit, spared] = [join(mount.volume, 'work/hit'), join(mount.volume, 'spared')];
  await fs.mkdir(join(mount.volume, 'work'));
  for (const path of [hit, spared]) await fs.writeFile(path, 'x');
  const names = ['ESTALE', 'EIO', 'ENOSPC', 'EDQUOT', 'EROFS', 'EACCES'] as const;
  for (const errno of names) {
    await mount.fault({ kind: 'errno', errno, operations: ['open', 'create', 'rename'], path: '/work/**' });
    t.equal(await errnoOf(fs.readFile(hit)), constants.errno[errno], errno);
    t.equal(await errnoOf(fs.writeFile(`${hit}.new`, '')), constants.errno[errno], errno);
    t.equal(await errnoOf(fs.rename(spared, `${hit}.moved`)), constants.errno[errno], errno);
    t.equal(await errnoOf(fs.readFile(spared)), 0);
    t.equal(await errnoOf(fs.stat(hit)), 0);
    await mount.heal();
    t.equal(await errnoOf(fs.readFile(hit)), 0);
  }
});

const calls: Readonly<Record<string, [FaultRule['operations'], (folder: string) => string]>> = {
  lookup: [['lookup'], (folder) => `cat ${folder}/file`],
  getattr: [['getattr'], (folder) => `stat ${folder}/file`],
  statfs: [['statfs'], (folder) => `stat -f ${folder}`],
  open: [['open'], (folder) => `cat ${folder}/file`],
  read: [['read'], (folder) => `cat ${folder}/file`],
  readdir: [['readdir'], (folder) => `ls ${folder}`],
  create: [['create'], (folder) => `touch ${folder}/made`],
  write: [['write'], (folder) => `echo x > ${folder}/made`],
  fsync: [['fsync'], (folder) => `sync ${folder}/file`],
  flush: [['flush'], (folder) => `echo x > ${folder}/made`],
  fsyncdir: [['fsyncdir'], (folder) => `sync ${folder}`],
  mkdir: [['mkdir'], (folder) => `mkdir ${folder}/folder`],
  rename: [['rename'], (folder) => `mv ${folder}/file ${folder}/moved`],
  unlink: [['unlink'], (folder) => `rm -f ${folder}/file`],
  link: [['link'], (folder) => `ln ${folder}/file ${folder}/linked`],
  all: [undefined, (folder) => `stat ${folder}`],
  changes: [CHANGES, (folder) => `chmod 600 ${folder}/file`],
};

/** A shell in a process group of its own, and what it ends with. */
function started(command: string): [ChildProcess, Promise<string | number | null>] {
  const child = spawn('sh', ['-c', command], { stdio: 'ignore', detached: true });
  return [child, new Promise((resolve) => child.once('close', (code, signal) => resolve(signal ?? code)))];
}

test(
  'every call hangs until the volume is healed, and a kill ends its process before that',
  { skip },
  async (t) => {
    for (const [name, [operations, command]] of Object.entries(calls)) {
      const mount = await mounted(t);
      await fs.writeFile(join(mount.behind, 'file'), 'x');
      await mount.fault({ kind: 'hang', ...(operations && { operations }) });
      const [killed, killedEnd] = started(command(mount.volume));
      await mount.held();
      process.kill(-(killed.pid ?? 0), 'SIGKILL');
      t.equal(await killedEnd, 'SIGKILL', `${name}: killed`);
      await eventually(async () => (await mount.state()).held.length === 0);
      const [patient, patientEnd] = started(command(mount.volume));
      await mount.held();
      t.equal(patient.exitCode, null, `${name}: waits`);
      await mount.heal();
      t.equal(await patientEnd, 0, `${name}: goes on`);
      await mount.stop();
    }
  },
);

test('where a hang cannot be killed, the process stays until the volume is healed', { skip }, async (t) => {
  const mount = await mounted(t);
  await mount.fault({ kind: 'hang', operations: ['fsync'], killable: false });
  const child = spawn('dd', ['if=/dev/zero', `of=${mount.volume}/x`, 'count=1', 'conv=fsync'], {
    stdio: 'ignore',
  });
  await mount.held(({ operation }) => operation === 'fsync');
  child.kill('SIGKILL');
  const state = (): string => readFileSync(`/proc/${child.pid}/status`, 'utf8');
  await eventually(
    () => /^ShdPnd:.*[1-9a-f]|^SigPnd:.*[1-9a-f]/m.test(state()) && /^State:\tD/m.test(state()),
  );
  const closed = new Promise((resolve) => child.once('close', (_, signal) => resolve(signal)));
  await mount.heal();
  t.equal(await closed, 'SIGKILL');
});

test(
  'an emptied or replaced volume has other files and stale handles, and comes back whole',
  { skip },
  async (t) => {
    const folder = temporaryFolder(t);
    const mount = await FaultyMount.start(t, folder);
    const path = join(mount.volume, 'file');
    await fs.writeFile(path, 'first');
    const handle = await fs.open(path, 'r');
    t.teardown(() => handle.close());
    await mount.empty();
    t.equal(await errnoOf(fs.readFile(path)), constants.errno.ENOENT);
    t.strictSame(await fs.readdir(mount.volume), []);
    t.equal(await errnoOf(handle.read(Buffer.alloc(1), 0, 1, 0)), constants.errno.ESTALE);
    t.equal(await errnoOf(fs.statfs(mount.volume)), 0);
    await fs.writeFile(path, 'on the empty one');
    const other = join(folder, 'other');
    await fs.mkdir(other);
    await fs.writeFile(join(other, 'file'), 'second');
    await mount.replaceBy(other);
    t.equal(await fs.readFile(path, 'utf8'), 'second');
    await mount.comeBack();
    t.equal(await fs.readFile(path, 'utf8'), 'first');
    t.equal((await handle.read(Buffer.alloc(1), 0, 1, 0)).bytesRead, 1);
  },
);

test(
  'a frozen server holds every call, a crashed one fails it, and neither outlives the test',
  { skip },
  async (t) => {
    const mount = await mounted(t);
    mount.freeze();
    let over = false;
    const look = run('stat', [mount.volume]).finally(() => (over = true));
    await eventually(() => readFileSync('/proc/mounts', 'utf8').includes(mount.volume));
    t.equal(over, false);
    mount.thaw();
    await look;
    await mount.crash();
    t.equal(await errnoOf(fs.stat(mount.volume)), constants.errno.ENOTCONN);
    await mount.stop();
    t.notMatch(readFileSync('/proc/mounts', 'utf8'), mount.volume);
    await mount.stop();
  },
);

test('a volume over a folder that is there shows its files', { skip }, async (t) => {
  const [covered, folder] = [temporaryFolder(t), temporaryFolder(t)];
  await fs.writeFile(join(covered, 'before'), 'x');
  const mount = await FaultyMount.over(t, covered, folder);
  t.strictSame(await fs.readdir(covered), ['before']);
  await fs.writeFile(join(covered, 'through'), 'y');
  await mount.stop();
  t.strictSame((await fs.readdir(covered)).sort(), ['before', 'through']);
});

test('a test that is killed while its server is frozen leaves nothing mounted', { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const body = `
    import { FaultyMount } from ${JSON.stringify(resolve('.build/test/faults/faulty-mount.js'))};
    const mount = await FaultyMount.start({ teardown: () => undefined }, ${JSON.stringify(folder)});
    mount.freeze();
    console.log('frozen');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', body], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  const isMounted = (): boolean => readFileSync('/proc/mounts', 'utf8').includes(folder);
  t.equal(isMounted(), true);
  child.kill('SIGKILL');
  await eventually(() => !isMounted());
});
