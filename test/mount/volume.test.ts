/** The operations of the volume on a real folder. What only root or only others can do is told apart in the test. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  promises as fs,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { test } from 'tap';
import { bulkThread } from '../../src/mount/bulk-thread.ts';
import { BulkWriter } from '../../src/mount/bulk-writer.ts';
import { ensureLayout, findOrCreateEpoch, readEpoch } from '../../src/mount/epoch.ts';
import { Gate, type GateEvent } from '../../src/mount/gate.ts';
import { removeTree, type TreeHands } from '../../src/mount/tree-removal.ts';
import { Volume } from '../../src/mount/volume.ts';
import { VolumeFile } from '../../src/mount/volume-file.ts';
import { flushesWhole, flushWhole } from '../../src/mount/whole-flush.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { VolumeLayout } from '../../src/protocol/volume-layout.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder, temporaryVolume, volumeAt } from '../harness/temporary-volume.ts';

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'no error',
    (error: unknown) => (error instanceof Fault ? error.code : String(error)),
  );
}

test('create() makes a file that must not exist, and openToRead() finds it or nothing', async (t) => {
  const volume = await temporaryVolume(t);
  const path = volume.layout.upload('a');
  t.equal(await volume.openToRead(path), undefined);
  const file = await volume.create(path, 0o640);
  await file?.write([Buffer.from('he'), Buffer.alloc(0), Buffer.from('llo')], 0);
  await file?.write([Buffer.from('y')], 4);
  await file?.sync();
  await file?.close();
  t.equal(await volume.create(path), undefined);
  t.equal((await volume.read(path, 5))?.toString(), 'helly');
  t.match(await volume.look(path), { size: 5, isFile: true });
  t.equal(statSync(path).mode & 0o777, 0o640);
});

test('read() refuses a file that is larger than the caller expects', async (t) => {
  const volume = await temporaryVolume(t);
  const path = volume.layout.upload('a');
  writeFileSync(path, 'x'.repeat(101));
  await t.rejects(volume.read(path, 100), RangeError);
  t.equal((await volume.read(path, 101))?.length, 101);
});

test('a path through a file is absent, as one that is missing', async (t) => {
  const volume = await temporaryVolume(t);
  const path = volume.layout.upload('a');
  writeFileSync(path, '');
  t.equal(await volume.read(`${path}/b`, 1), undefined);
  t.equal(await volume.look(`${path}/b`), undefined);
  t.equal(await volume.list(path), undefined);
  t.equal(await volume.remove(`${path}/b`), false);
});

test('invariant 12: nothing follows a symbolic link that a script left in the place of a file', async (t) => {
  const volume = await temporaryVolume(t);
  const secret = join(temporaryFolder(t), 'secret');
  writeFileSync(secret, 'secret');
  const link = volume.layout.upload('link');
  symlinkSync(secret, link);
  t.equal(await codeOf(volume.read(link, 100)), 'STORAGE_ERROR');
  t.equal(await codeOf(volume.look(link)), 'STORAGE_ERROR');
  t.equal(await volume.create(link), undefined);
  t.equal(readFileSync(secret, 'utf8'), 'secret');
});

test('invariant 7: a FIFO that a script left in the place of a file does not hang who opens it', async (t) => {
  const volume = await temporaryVolume(t);
  const path = volume.layout.upload('fifo');
  execFileSync('mkfifo', [path]);
  t.match(await volume.look(path), { isFile: false });
});

test('link() tells made, exists and unsupported, and knows its own link when the server says that it exists', async (t) => {
  const volume = await temporaryVolume(t);
  const [one, other, name] = ['one', 'other', 'name'].map((part) => volume.layout.upload(part));
  if (one === undefined || other === undefined || name === undefined) throw new TypeError('three names');
  writeFileSync(one, '1');
  writeFileSync(other, '2');
  t.equal(await volume.link(one, name), 'made');
  t.equal(await volume.link(one, name), 'made', 'sent twice, as NFS may');
  t.equal(await volume.link(other, name), 'exists');
  t.equal(await codeOf(volume.link(volume.layout.upload('none'), name)), 'STORAGE_ERROR');
  // A link to a folder is what EPERM says everywhere, also to root; file systems without links say it of all.
  t.equal(await volume.link(volume.layout.uploads, volume.layout.upload('b')), 'unsupported');
});

test('rename() is false for a source that is absent; renameExclusive() never replaces a folder with content', async (t) => {
  const volume = await temporaryVolume(t);
  const [from, to] = [volume.layout.upload('from'), volume.layout.upload('to')];
  t.equal(await volume.rename(from, to), false);
  mkdirSync(from);
  mkdirSync(to);
  writeFileSync(`${to}/content`, '');
  t.equal(await volume.renameExclusive(from, to), false);
  t.equal(await codeOf(volume.rename(from, to)), 'STORAGE_ERROR');
  await volume.remove(`${to}/content`);
  t.equal(await volume.renameExclusive(from, to), true);
});

test('makeFolder() and removeFolder() tell what was there', async (t) => {
  const volume = await temporaryVolume(t);
  const path = volume.layout.upload('f');
  t.equal(await volume.removeFolder(path), false);
  t.equal(await volume.makeFolder(path), true);
  t.equal(await volume.makeFolder(path), false);
  writeFileSync(`${path}/x`, '');
  t.equal(await volume.removeFolder(path), false);
  await volume.remove(`${path}/x`);
  t.equal(await volume.removeFolder(path), true);
});

test('touch() and setTimes() change the time of what is there', async (t) => {
  const volume = await temporaryVolume(t);
  const path = volume.layout.upload('a');
  t.equal(await volume.touch(path), false);
  writeFileSync(path, '');
  const at = new Date('2020-01-02T03:04:05.678Z');
  t.equal(await volume.setTimes(path, at), true);
  t.equal(Math.round((await volume.look(path))?.modifiedMs ?? 0), at.getTime());
  await volume.touch(path);
  t.ok(Date.now() - statSync(path).mtimeMs < 60_000);
});

test('space() tells free and total bytes', async (t) => {
  const { freeBytes, totalBytes } = await (await temporaryVolume(t)).space();
  t.ok(freeBytes > 0 && freeBytes <= totalBytes);
});

test('invariant 6: a folder that may not be written to is STORAGE_DENIED, a read-only one STORAGE_READONLY', async (t) => {
  // Root may write everywhere but in /proc, whose folders take no files from anybody.
  const volume = volumeAt('/proc');
  t.match(await codeOf(volume.create('/proc/self/fdinfo/x')), /STORAGE_(DENIED|ERROR)/);
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o500);
  const code = await codeOf(volumeAt(folder).makeFolder(join(folder, 'a')));
  t.equal(code, process.getuid?.() === 0 ? 'no error' : 'STORAGE_DENIED');
});

test('invariant 6: a disk that is full is STORAGE_FULL to the one write, with ENOSPC as its cause', async (t) => {
  // The kernel's own full disk, on every Linux and for every user.
  const handle = await fs.open('/dev/full', 'r+');
  const gate = new Gate({ budget: 4, queueLimit: 4, deadlineMs: 5000 });
  const file = new VolumeFile({ gate, handle, path: '/dev/full', slowDeadlineMs: 5000 });
  const fault = await file.write([Buffer.from('x')], 0).catch((error: unknown) => error);
  await file.close();
  t.match(fault, {
    code: 'STORAGE_FULL',
    detail: { errno: 'ENOSPC', operation: 'write' },
    cause: { code: 'ENOSPC' },
  });
});

/** A handle that writes as much as it is told to, or fails. */
function handleThat(writev: fs.FileHandle['writev'], more: Partial<fs.FileHandle> = {}): fs.FileHandle {
  // A real handle cannot be made to write short; of the whole interface only these are called.
  return { writev, close: async () => undefined, ...more } as unknown as fs.FileHandle;
}

function fileOn(handle: fs.FileHandle, deadlineMs = 5000): VolumeFile {
  const gate = new Gate({ budget: 4, queueLimit: 4, deadlineMs });
  return new VolumeFile({ gate, handle, path: '/v/file', slowDeadlineMs: deadlineMs });
}

test('write() goes on where the kernel wrote less than it was given', async (t) => {
  const written: [string, number | undefined][] = [];
  const writev = async (buffers: readonly NodeJS.ArrayBufferView[], position?: number) => {
    const bytes = Buffer.concat(
      buffers.map((one) => Buffer.from(one.buffer, one.byteOffset, one.byteLength)),
    );
    const bytesWritten = Math.min(3, bytes.length);
    written.push([bytes.subarray(0, bytesWritten).toString(), position]);
    return { bytesWritten, buffers };
  };
  await fileOn(handleThat(writev as fs.FileHandle['writev'])).write(
    [Buffer.from('abcd'), Buffer.from('efg')],
    10,
  );
  t.strictSame(written, [
    ['abc', 10],
    ['def', 13],
    ['g', 16],
  ]);
});

test('write() does not try for ever where the kernel takes nothing', async (t) => {
  const nothing = async () => ({ bytesWritten: 0, buffers: [] });
  t.equal(
    await codeOf(
      fileOn(handleThat(nothing as unknown as fs.FileHandle['writev'])).write([Buffer.from('x')], 0),
    ),
    'STORAGE_ERROR',
  );
});

test('invariant 7: close() does not close a file whose write hangs before that has returned', async (t) => {
  const { promise, resolve } = Promise.withResolvers<{ bytesWritten: number; buffers: [] }>();
  let closed = 0;
  const handle = handleThat((() => promise) as unknown as fs.FileHandle['writev'], {
    close: async () => void (closed += 1),
  });
  const file = fileOn(handle, 20);
  t.equal(await codeOf(file.write([Buffer.from('x')], 0)), 'STORAGE_TIMEOUT');
  await file.close();
  t.equal(closed, 0, 'its number could become that of another file, which the write would hit');
  resolve({ bytesWritten: 1, buffers: [] });
  await eventually(() => closed === 1);
});

test('an error of close() is told: on NFS it may be the only one of a write', async (t) => {
  const close = () => Promise.reject(Object.assign(new Error('late'), { errno: -5, code: 'EIO' }));
  const file = fileOn(handleThat((async () => undefined) as unknown as fs.FileHandle['writev'], { close }));
  t.equal(await codeOf(file.close()), 'STORAGE_ERROR');
});

test('removeTree() removes folders, files, links and a FIFO, and follows no link', async (t) => {
  const volume = await temporaryVolume(t);
  const outside = temporaryFolder(t);
  writeFileSync(join(outside, 'kept'), '');
  const tree = volume.layout.upload('tree');
  mkdirSync(`${tree}/a/b/c`, { recursive: true });
  for (let index = 0; index < 40; index += 1) writeFileSync(`${tree}/a/${index}`, '');
  symlinkSync(outside, `${tree}/a/link`);
  symlinkSync('nowhere', `${tree}/a/b/broken`);
  execFileSync('mkfifo', [`${tree}/a/b/fifo`]);
  await volume.removeTree(tree);
  t.notOk(existsSync(tree));
  t.strictSame(readdirSync(outside), ['kept']);
  await volume.removeTree(tree);
  writeFileSync(tree, '');
  await volume.removeTree(tree);
  t.notOk(existsSync(tree), 'a file too');
});

test('removeTree() removes what a script closed to everybody', async (t) => {
  const volume = await temporaryVolume(t);
  const tree = volume.layout.upload('tree');
  mkdirSync(`${tree}/shut/inner`, { recursive: true });
  writeFileSync(`${tree}/shut/inner/file`, '');
  chmodSync(`${tree}/shut/inner`, 0o000);
  chmodSync(`${tree}/shut`, 0o500);
  await volume.removeTree(tree);
  t.notOk(existsSync(tree));
});

test('removeTree() changes the mode of a folder that denies and tries again, whoever runs the tests', async (t) => {
  const denied = new Fault('STORAGE_DENIED', 'x', { cause: Object.assign(new Error('x'), { errno: -13 }) });
  const modes: string[] = [];
  const shut = new Set(['/v/tree']);
  const hands: TreeHands = {
    list: async (path) => {
      if (shut.has(path)) throw denied;
      return [];
    },
    remove: async () => true,
    removeFolder: async () => true,
    rename: async () => true,
    changeMode: async (path) => {
      modes.push(path);
      shut.delete(path);
    },
  };
  await removeTree(hands, '/v/tree');
  t.strictSame(modes, ['/v/tree']);
});

test('removeTree() says so when somebody keeps adding files', async (t) => {
  const hands: TreeHands = {
    list: async () => [],
    remove: async () => true,
    removeFolder: async () => false,
    rename: async () => true,
    changeMode: async () => undefined,
  };
  t.equal(await codeOf(removeTree(hands, '/v/tree')), 'STORAGE_ERROR');
});

test('removeTree() removes folders nested deeper than a path may be long', async (t) => {
  const volume = await temporaryVolume(t);
  const tree = volume.layout.upload('tree');
  // Made as a script would: each step relative to the one before.
  const step = 'd'.repeat(200);
  execFileSync('bash', [
    '-c',
    `mkdir "$1" && cd "$1" && for i in {1..40}; do mkdir ${step} && cd ${step}; done; : > file`,
    '-',
    tree,
  ]);
  await volume.removeTree(tree);
  t.notOk(existsSync(tree));
});

test('invariant 7: removeTree() keeps to its share of the gate, however many files there are', async (t) => {
  const [inside, most] = [new Set<string>(), { count: 0 }];
  const volume = await temporaryVolume(t, ({ phase, path }) => {
    if (phase === 'begin') inside.add(path);
    if (phase === 'end') inside.delete(path);
    most.count = Math.max(most.count, inside.size);
  });
  const tree = volume.layout.upload('tree');
  mkdirSync(tree);
  for (let index = 0; index < 300; index += 1) writeFileSync(`${tree}/${index}`, '');
  await volume.removeTree(tree);
  t.ok(most.count <= 8, `${most.count} at once`);
});

test('writeMany() writes bytes and copies, each with its mode, and flushWhole() makes them durable', async (t) => {
  const volume = await temporaryVolume(t);
  const from = volume.layout.upload('from');
  writeFileSync(from, 'copied');
  chmodSync(from, 0o444);
  const shared = Buffer.from('0123456789');
  const files = Array.from({ length: 700 }, (_, index) => ({
    path: volume.layout.upload(`f${index}`),
    mode: 0o640,
    content: index % 3 === 0 ? { from } : shared.subarray(index % 10),
  }));
  await volume.writeMany(files);
  if (await volume.flushesWhole()) t.equal(await volume.flushWhole(), true);
  for (const [index, { path }] of files.entries()) {
    const expected = index % 3 === 0 ? 'copied' : shared.subarray(index % 10).toString();
    if (readFileSync(path, 'utf8') !== expected || (statSync(path).mode & 0o777) !== 0o640) t.fail(path);
  }
});

test('writeMany() tells the errno of the one file that could not be written', async (t) => {
  const volume = await temporaryVolume(t);
  const path = volume.layout.upload('there');
  writeFileSync(path, 'before');
  const fault = await volume
    .writeMany([{ path, mode: 0o644, content: Buffer.from('x') }])
    .catch((error: unknown) => error);
  t.match(fault, { code: 'STORAGE_ERROR', detail: { errno: 'EEXIST', operation: 'write-files' } });
  t.equal(readFileSync(path, 'utf8'), 'before');
  const from = volume.layout.upload('none');
  const missing = volume.writeMany([{ path: volume.layout.upload('c'), mode: 0o644, content: { from } }]);
  t.match(await missing.catch((error: unknown) => error), { detail: { errno: 'ENOENT' } });
  await volume.writeMany([{ path: volume.layout.upload('next'), mode: 0o644, content: Buffer.from('x') }]);
});

test('invariant 7: a thread that hangs on the volume keeps its place at the gate and is not used again', async (t) => {
  const folder = temporaryFolder(t);
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const gate = new Gate({ budget: 4, queueLimit: 4, deadlineMs: 5000 });
  const writer = new BulkWriter(gate, 200);
  // A copy from a FIFO hangs in open(2) until somebody writes, as a read from a server that is away does.
  const hung = writer.write([{ path: join(folder, 'a'), mode: 0o644, content: { from: fifo } }]);
  t.equal(await codeOf(hung), 'STORAGE_TIMEOUT');
  t.match(gate.load, { inside: 1, overdue: 1 });
  await writer.write([{ path: join(folder, 'b'), mode: 0o644, content: Buffer.from('b') }]);
  t.equal(readFileSync(join(folder, 'b'), 'utf8'), 'b');
  closeSync(openSync(fifo, 'w'));
  await eventually(() => gate.load.inside === 0);
});

test('the program of a thread needs nothing but its arguments, since its text alone is sent', async (t) => {
  const text = bulkThread.toString();
  t.notMatch(text, /import|require|__/);
  t.doesNotThrow(() => new Script(`(${text})`));
});

test('flushWhole() says when it cannot, so that each file is synced instead', async (t) => {
  t.equal(await flushWhole('/nonexistent/place', 5000), false);
  t.ok(flushesWhole(0xef53), 'ext4');
  t.notOk(
    flushesWhole(0x6969),
    'not NFS: a child that starts while the server is away would freeze the agent',
  );
});

test('findOrCreateEpoch() makes one epoch, whole, for all agents that start at once', async (t) => {
  const folder = temporaryFolder(t);
  const volumes = Array.from({ length: 8 }, () => volumeAt(folder));
  for (const volume of volumes) await ensureLayout(volume);
  t.equal(await readEpoch(volumeAt(folder)), undefined);
  const epochs = await Promise.all(volumes.map(findOrCreateEpoch));
  t.equal(new Set(epochs).size, 1);
  t.match(epochs[0], /^[0-9a-f]{32}$/);
  t.equal(await findOrCreateEpoch(volumeAt(folder)), epochs[0], 'and finds it afterwards');
  const { layout } = volumeAt(folder);
  t.equal(readFileSync(layout.epoch, 'utf8'), `${epochs[0] ?? ''}\n`);
  t.notOk(
    readdirSync(layout.root).some((name) => name.includes('~')),
    'and leaves nothing behind',
  );
  t.ok(lstatSync(layout.epoch).isFile(), 'a runner reads it as a plain file');
});

test('readEpoch() takes half a file for no epoch of ours, and an empty folder for none', async (t) => {
  const volume = await temporaryVolume(t);
  t.equal(await readEpoch(volume), undefined);
  for (const text of ['', 'x', 'ab'.repeat(16), `${'AB'.repeat(16)}\n`, `${'ab'.repeat(16)}\n\n`]) {
    writeFileSync(volume.layout.epoch, text);
    t.equal(await codeOf(readEpoch(volume)), 'STORAGE_REPLACED', JSON.stringify(text));
  }
});

test('findOrCreateEpoch() does not touch an identity that holds other files', async (t) => {
  const volume = await temporaryVolume(t);
  writeFileSync(`${volume.layout.identity}/of-somebody`, '');
  t.equal(await codeOf(findOrCreateEpoch(volume)), 'STORAGE_EMPTIED');
  t.strictSame(readdirSync(volume.layout.identity), ['of-somebody']);
});

test('ensureLayout() makes the folders, again and again, and never where the mount is missing', async (t) => {
  const folder = temporaryFolder(t);
  const volume = volumeAt(folder);
  await ensureLayout(volume);
  await ensureLayout(volume);
  for (const place of volume.layout.folders) t.ok(statSync(place).isDirectory(), place);
  t.equal(await codeOf(ensureLayout(volumeAt(join(folder, 'missing')))), 'STORAGE_ERROR');
  t.notOk(existsSync(join(folder, 'missing')));
});

test('a volume is the same for every agent that opens it', async (t) => {
  const folder = temporaryFolder(t);
  const gate = new Gate({ budget: 1, queueLimit: 100, deadlineMs: 5000 });
  const volume = new Volume({ gate, layout: new VolumeLayout(folder), slowDeadlineMs: 5000 });
  await ensureLayout(volume);
  const files = Array.from({ length: 20 }, (_, index) => volume.layout.upload(`f${index}`));
  await Promise.all(files.map(async (path) => (await volume.create(path))?.close()));
  t.equal((await volumeAt(folder).list(volume.layout.uploads))?.length, 20, 'also with a budget of one');
});

test('every operation of a volume passes the gate', async (t) => {
  const seen = new Set<string>();
  const volume = await temporaryVolume(t, (event: GateEvent) => seen.add(event.operation));
  const path = volume.layout.upload('a');
  const file = await volume.create(path);
  await file?.write([Buffer.from('x')], 0);
  await file?.changeMode(0o600);
  await file?.sync();
  await file?.close();
  utimesSync(path, new Date(), new Date());
  await volume.read(path, 10);
  await volume.look(path);
  await volume.list(volume.layout.uploads);
  await volume.link(path, volume.layout.upload('b'));
  await volume.rename(path, volume.layout.upload('c'));
  await volume.touch(volume.layout.upload('c'));
  await volume.changeMode(volume.layout.upload('c'), 0o600);
  await volume.syncFolder(volume.layout.uploads);
  await volume.space();
  await volume.removeTree(volume.layout.uploads);
  const all = [
    'mkdir',
    'create',
    'write',
    'fchmod',
    'fsync',
    'close',
    'open',
    'fstat',
    'read',
    'look',
    'readdir',
  ];
  const others = ['link', 'rename', 'utimes', 'chmod', 'statfs', 'unlink', 'rmdir'];
  t.strictSame([...seen].sort(), [...all, ...others].sort());
});

test('a folder is never renamed onto a file that has the name', async (t) => {
  const volume = await temporaryVolume(t);
  const [folder, file] = [`${volume.layout.canary}/folder`, `${volume.layout.canary}/file`];
  await volume.makeFolder(folder);
  await (await volume.create(file))?.close();
  t.equal(await volume.renameExclusive(folder, file), false);
  t.equal((await volume.look(file))?.isFile, true);
});
