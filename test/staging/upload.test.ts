/** Bodies on their way to the volume (invariants 1, 2 and 13). */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer, request, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { test } from 'tap';
import type { VolumeFile } from '../../src/mount/volume-file.ts';
import type { Volume } from '../../src/mount/volume.ts';
import { parseSha256, sha256Of } from '../../src/protocol/digest.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { BatchWriter } from '../../src/staging/batch-writer.ts';
import { RateWatch } from '../../src/staging/rate-watch.ts';
import { Space } from '../../src/staging/space.ts';
import { UploadMemory } from '../../src/staging/upload-memory.ts';
import { UploadReceiver, type UploadOptions } from '../../src/staging/upload-receiver.ts';
import { receiveUpload } from '../../src/staging/upload-writer.ts';
import { childProgram } from '../harness/child-program.ts';
import { eventually } from '../harness/eventually.ts';
import { faultyVolume, type Interference } from '../harness/faulty-volume.ts';
import { codeOf } from '../harness/stores.ts';
import { temporaryFolder, temporaryVolume, volumeAt } from '../harness/temporary-volume.ts';

const MIB = 1024 * 1024;

function optionsOf(options: Partial<UploadOptions> = {}): UploadOptions {
  const memory = new UploadMemory(8 * MIB);
  return { maxBytes: 1024 * MIB, memory, minBytesPerSecond: 1, rateWindowMs: 60_000, ...options };
}

function leftIn(volume: Volume): string[] {
  return readdirSync(volume.layout.uploads);
}

async function madeVolume(
  t: { teardown: (work: () => void) => void },
  interfere: Interference,
): Promise<Volume> {
  const folder = temporaryFolder(t);
  for (const place of volumeAt(folder).layout.folders) await volumeAt(folder).makeFolder(place);
  return faultyVolume(folder, interfere);
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

test('invariant 2: receiveUpload() writes exactly the bytes that came, and tells their digest', async (t) => {
  const volume = await temporaryVolume(t);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(fc.nat({ max: 3 }), fc.nat({ max: 400_000 })), { maxLength: 12 }),
      async (sizes) => {
        const chunks = sizes.filter((size) => size > 0).map((size) => randomBytes(size));
        const all = Buffer.concat(chunks);
        const digest = parseSha256(createHash('sha256').update(all).digest('hex'));
        const options = optionsOf({ digest, length: all.length });
        const received = await receiveUpload(volume, Readable.from(chunks, { objectMode: false }), options);
        return (
          received.digest === digest &&
          received.size === all.length &&
          readFileSync(received.temporary).equals(all) &&
          options.memory.heldBytes === 0
        );
      },
    ),
    { numRuns: 40 },
  );
});

test('receiveUpload() makes the file read-only, and closes every descriptor', async (t) => {
  const volume = await temporaryVolume(t);
  const before = openDescriptors();
  const { temporary } = await receiveUpload(volume, Readable.from([Buffer.from('x')]), optionsOf());
  t.equal(statSync(temporary).mode & 0o777, 0o444);
  t.equal(openDescriptors(), before);
});

test('receiveUpload() takes an empty body', async (t) => {
  const volume = await temporaryVolume(t);
  const received = await receiveUpload(
    volume,
    Readable.from([]),
    optionsOf({ length: 0, digest: sha256Of('') }),
  );
  t.match(received, { size: 0, digest: sha256Of('') });
});

test('invariant 13: receiveUpload() takes single bytes without keeping a buffer for each', async (t) => {
  let writes = 0;
  const volume = await madeVolume(t, (operation) => {
    if (operation === 'write') writes += 1;
    return undefined;
  });
  const bytes = randomBytes(5000);
  const single = Readable.from([...bytes].map((byte) => Buffer.from([byte])));
  const { digest } = await receiveUpload(volume, single, optionsOf());
  t.equal(digest, sha256Of(bytes));
  t.ok(writes >= 4, 'a batch ends at the number of buffers that one writev takes');
});

const refusals: readonly [string, string, (volume: Volume) => Promise<unknown>][] = [
  [
    'a body that ends before its announced length',
    'UPLOAD_INCOMPLETE',
    (volume) => receiveUpload(volume, Readable.from([randomBytes(1000)]), optionsOf({ length: 1001 })),
  ],
  [
    'a body that goes on after its announced length',
    'BODY_TOO_LARGE',
    (volume) => receiveUpload(volume, Readable.from([randomBytes(1001)]), optionsOf({ length: 1000 })),
  ],
  [
    'a body beyond the limit',
    'BODY_TOO_LARGE',
    (volume) =>
      receiveUpload(
        volume,
        Readable.from([randomBytes(600_000), randomBytes(2)]),
        optionsOf({ maxBytes: 600_001 }),
      ),
  ],
  [
    'other bytes than were announced',
    'DIGEST_MISMATCH',
    (volume) =>
      receiveUpload(volume, Readable.from([randomBytes(600_000)]), optionsOf({ digest: sha256Of('') })),
  ],
  [
    'a source that fails',
    'UPLOAD_INCOMPLETE',
    (volume) => {
      const source = new PassThrough();
      source.write(randomBytes(600_000));
      setImmediate(() => source.destroy(new Error('reset')));
      return receiveUpload(volume, source, optionsOf());
    },
  ],
  [
    'a source that was destroyed before it was read',
    'UPLOAD_INCOMPLETE',
    (volume) => receiveUpload(volume, new PassThrough().destroy(), optionsOf()),
  ],
  [
    'a source that sends nothing',
    'UPLOAD_TOO_SLOW',
    (volume) => receiveUpload(volume, new PassThrough(), optionsOf({ rateWindowMs: 30 })),
  ],
  [
    'an upload that was aborted before it began',
    'UPLOAD_INCOMPLETE',
    (volume) =>
      receiveUpload(volume, Readable.from([randomBytes(9)]), optionsOf({ signal: AbortSignal.abort() })),
  ],
  [
    'an upload that the agent aborts, with its reason',
    'AGENT_STOPPING',
    (volume) => {
      const stop = new AbortController();
      const source = new PassThrough();
      source.write(randomBytes(600_000));
      setImmediate(() => stop.abort(new Fault('AGENT_STOPPING', 'the agent stops')));
      return receiveUpload(volume, source, optionsOf({ signal: stop.signal }));
    },
  ],
];

for (const [what, code, send] of refusals) {
  test(`receiveUpload() answers ${code} to ${what}, and leaves no byte behind`, async (t) => {
    const volume = await temporaryVolume(t);
    const before = openDescriptors();
    t.equal(await codeOf(send(volume)), code);
    t.strictSame(leftIn(volume), []);
    await eventually(() => openDescriptors() <= before);
  });
}

test('receiveUpload() survives a source that fails once more after it was refused', async (t) => {
  const volume = await temporaryVolume(t);
  const source = new PassThrough();
  source.write(randomBytes(100));
  t.equal(await codeOf(receiveUpload(volume, source, optionsOf({ maxBytes: 10 }))), 'BODY_TOO_LARGE');
  source.destroy(new Error('reset'));
  await eventually(() => source.closed);
  t.pass('no uncaught error');
});

test('invariant 1: receiveUpload() that meets an error of the disk at any step leaves no byte behind', async (t) => {
  for (const operation of ['create', 'write', 'fchmod', 'fsync', 'close']) {
    let armed = true;
    const volume = await madeVolume(t, (met) => {
      if (met !== operation || !armed) return undefined;
      armed = false;
      return { errno: 'ENOSPC' };
    });
    const memory = new UploadMemory(MIB);
    const source = Readable.from([randomBytes(700_000), randomBytes(700_000)]);
    t.equal(await codeOf(receiveUpload(volume, source, optionsOf({ memory }))), 'STORAGE_FULL', operation);
    t.strictSame(leftIn(volume), [], operation);
    t.equal(memory.heldBytes, 0, operation);
  }
});

test('receiveUpload() on a disk whose files may not grow answers STORAGE_FULL, and leaves no byte behind', async (t) => {
  const volume = await temporaryVolume(t);
  const folder = volume.layout.root.slice(0, volume.layout.root.lastIndexOf('/'));
  // A real limit of the kernel, EFBIG, for every user: ulimit counts KiB, and the signal is ignored.
  const limited = 'trap "" XFSZ; ulimit -f 100; exec "$@"';
  const program = [process.execPath, childProgram(import.meta.url, 'upload-child'), folder];
  const { stdout } = await promisify(execFile)('bash', ['-c', limited, '-', ...program]);
  t.match(stdout, /^STORAGE_FULL EFBIG/);
  t.strictSame(leftIn(volume), []);
});

test('invariant 13: receiveUpload() holds a few batches, however much slower the volume is than the client', async (t) => {
  const volume = await madeVolume(t, (operation) =>
    operation === 'write' ? { after: new Promise((resolve) => setTimeout(resolve, 2)) } : undefined,
  );
  const memory = new UploadMemory(64 * MIB);
  let [sent, most] = [0, 0];
  const source = new Readable({
    read() {
      most = Math.max(most, memory.heldBytes);
      sent += 1;
      this.push(sent > 300 ? null : Buffer.alloc(64 * 1024, sent));
    },
  });
  const { size } = await receiveUpload(volume, source, optionsOf({ memory }));
  t.equal(size, 300 * 64 * 1024);
  t.ok(most <= 3 * 256 * 1024 + 3 * 64 * 1024, `${most} bytes held at most`);
});

test('invariant 13: all uploads together keep to one budget, and each of them comes to its end', async (t) => {
  const volume = await madeVolume(t, (operation) =>
    operation === 'write' ? { after: new Promise((resolve) => setImmediate(resolve)) } : undefined,
  );
  const memory = new UploadMemory(MIB / 2);
  let most = 0;
  const uploads = Array.from({ length: 12 }, async () => {
    let sent = 0;
    const source = new Readable({
      read() {
        most = Math.max(most, memory.heldBytes);
        sent += 1;
        this.push(sent > 40 ? null : Buffer.alloc(32 * 1024, sent));
      },
    });
    return receiveUpload(volume, source, optionsOf({ memory }));
  });
  for (const { size } of await Promise.all(uploads)) t.equal(size, 40 * 32 * 1024);
  t.ok(most <= MIB / 2 + 12 * 32 * 1024, `${most} bytes held at most: the budget and one chunk each`);
  t.equal(memory.heldBytes, 0);
});

test('receiveUpload() does not call a client slow while the volume makes it wait', async (t) => {
  const gate = Promise.withResolvers<undefined>();
  let windows = 0;
  const volume = await madeVolume(t, (operation) =>
    operation === 'write' ? { after: gate.promise } : undefined,
  );
  const source = new PassThrough({ highWaterMark: 8 * MIB });
  for (let chunk = 0; chunk < 64; chunk += 1) source.write(randomBytes(MIB / 16));
  const upload = receiveUpload(volume, source, optionsOf({ rateWindowMs: 20, minBytesPerSecond: MIB }));
  const timer = setInterval(() => (windows += 1), 20);
  await eventually(() => windows > 5);
  clearInterval(timer);
  gate.resolve(undefined);
  source.end();
  t.equal((await upload).size, 4 * MIB);
});

test('receiveUpload() over HTTP answers UPLOAD_INCOMPLETE when the client goes away in the middle', async (t) => {
  const volume = await temporaryVolume(t);
  const { promise, resolve } = Promise.withResolvers<string>();
  const server = createServer((incoming: IncomingMessage) => {
    void codeOf(receiveUpload(volume, incoming, optionsOf({ length: 10 * MIB }))).then(resolve);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const client = request({ port, host: '127.0.0.1', method: 'PUT', headers: { 'content-length': 10 * MIB } });
  client.on('error', () => undefined);
  client.write(randomBytes(MIB), () => client.destroy());
  t.equal(await promise, 'UPLOAD_INCOMPLETE');
  t.strictSame(leftIn(volume), []);
});

test('receiveUpload() over HTTP has every byte, although it gives the memory of each chunk back at once', async (t) => {
  const volume = await temporaryVolume(t);
  const { promise, resolve, reject } = Promise.withResolvers<{ digest: string; temporary: string }>();
  const server = createServer((incoming, answer) => {
    receiveUpload(volume, incoming, optionsOf()).then(resolve, reject);
    incoming.on('end', () => answer.end());
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const bytes = randomBytes(5 * MIB + 17);
  const client = request({ port, host: '127.0.0.1', method: 'PUT' });
  client.on('response', (answer) => answer.resume());
  for (let at = 0; at < bytes.length; at += 70_001) client.write(bytes.subarray(at, at + 70_001));
  client.end();
  const { digest, temporary } = await promise;
  t.equal(digest, sha256Of(bytes));
  t.ok(readFileSync(temporary).equals(bytes));
});

test('receiveUpload() syncs while bytes come in, and an error of that is an error of the upload', async (t) => {
  for (const fails of [false, true]) {
    let syncs = 0;
    const volume = await madeVolume(t, (operation) => {
      if (operation === 'fsync') syncs += 1;
      return fails && operation === 'fsync' && syncs === 1 ? { errno: 'EIO' } : undefined;
    });
    let sent = 0;
    const chunk = Buffer.alloc(MIB);
    const source = new Readable({
      read() {
        this.push((sent += 1) > 130 ? null : chunk);
      },
    });
    t.equal(await codeOf(receiveUpload(volume, source, optionsOf())), fails ? 'STORAGE_ERROR' : 'no error');
    t.equal(leftIn(volume).length, fails ? 0 : 1);
    t.ok(fails || syncs > 1, `${syncs} times`);
  }
});

test('BatchWriter writes in order, two batches at once, and tells when it can take no more', async (t) => {
  const [writes, more]: [string[], PromiseWithResolvers<undefined>] = [[], Promise.withResolvers()];
  // Of the whole file only these are called.
  const file = {
    write: async (batch: Buffer[], position: number) => {
      writes.push(`${Buffer.concat(batch).length} at ${position}`);
      await more.promise;
    },
  } as unknown as VolumeFile;
  let released = 0;
  const nothing = () => undefined;
  const writer = new BatchWriter(file, {
    ...{ ownsChunks: false, wrote: nothing, failed: nothing, changed: nothing },
    released: (bytes) => (released += bytes),
  });
  for (let chunk = 0; chunk < 3; chunk += 1) {
    t.notOk(writer.isFull);
    writer.add(Buffer.alloc(MIB / 4));
    writer.advance(false);
  }
  t.strictSame(writes, ['262144 at 0', '262144 at 262144']);
  t.ok(writer.isFull && writer.isBusy && !writer.isDone);
  t.equal(writer.drop(), MIB / 4);
  more.resolve(undefined);
  await writer.settled();
  t.ok(writer.isDone);
  t.equal(released, MIB / 2);
});

test('RateWatch judges each window by itself', async (t) => {
  const faults: Fault[] = [];
  const watch = new RateWatch({ minBytesPerSecond: 1000, rateWindowMs: 50 }, (fault) => faults.push(fault));
  watch.received(1_000_000);
  await eventually(() => faults.length === 1);
  watch.stop();
  t.equal(faults[0]?.code, 'UPLOAD_TOO_SLOW');
});

test('an abandoned receiver lets its source and memory go', async (t) => {
  const memory = new UploadMemory(MIB);
  const source = new PassThrough();
  new UploadReceiver(source, optionsOf({ memory })).abandon();
  source.destroy(new Error('later'));
  await eventually(() => source.closed);
  t.equal(memory.heldBytes, 0);
});

test('UploadMemory wakes those who wait when there is room, and not one who took it back', async (t) => {
  const memory = new UploadMemory(10);
  memory.take(12);
  t.ok(memory.isFull);
  const woken: string[] = [];
  memory.whenRoom(() => woken.push('a'));
  memory.whenRoom(() => woken.push('b'))();
  memory.give(1);
  t.strictSame(woken, [], 'still full');
  memory.give(2);
  t.strictSame(woken, ['a']);
  memory.give(9);
  t.strictSame(woken, ['a'], 'once');
});

/** A volume with so many free bytes. */
function spaceOf(freeBytes: number, maxUploads = 10): Space {
  const volume = { space: async () => ({ freeBytes, totalBytes: 1000 }) };
  // Only space() is asked.
  return new Space(volume as unknown as Volume, { reserveBytes: 100, maxUploads, unknownLengthBytes: 50 });
}

test('Space admits what fits beside the reserve and what was promised to others', async (t) => {
  const space = spaceOf(1000);
  const first = await space.admitUpload(600);
  t.equal(await codeOf(space.admitUpload(301)), 'STORAGE_FULL');
  const second = await space.admitUpload(300);
  t.equal(await codeOf(space.admitUpload(undefined)), 'STORAGE_FULL', 'one of unknown length needs room too');
  t.strictSame(space.load, { uploads: 2, reservedBytes: 900 });
  first.wrote(200);
  t.equal(space.load.reservedBytes, 700, 'what is written is counted by the file system');
  first.wrote(5000);
  t.equal(space.load.reservedBytes, 300);
  for (const admission of [first, second, first, second]) admission.release();
  t.strictSame(space.load, { uploads: 0, reservedBytes: 0 });
});

test('Space refuses two who ask at once and do not fit together, one of them', async (t) => {
  const space = spaceOf(1000);
  const codes = await Promise.all([space.admitUpload(500), space.admitUpload(500)].map(codeOf));
  t.ok(codes.includes('STORAGE_FULL'));
});

test('invariant 13: Space takes no more uploads than configured, and counts none twice', async (t) => {
  const space = spaceOf(1000, 2);
  const admissions = await Promise.all([space.admitUpload(1), space.admitUpload(1)]);
  t.equal(await codeOf(space.admitUpload(1)), 'UPLOADS_TOO_MANY');
  admissions[0].release();
  admissions[0].release();
  const third = await space.admitUpload(1);
  t.equal(await codeOf(space.admitUpload(1)), 'UPLOADS_TOO_MANY');
  third.release();
});

test('Space gives a place back when the volume does not tell its space', async (t) => {
  const volume = { space: () => Promise.reject(new Fault('STORAGE_TIMEOUT', 'x')) };
  const space = new Space(volume as unknown as Volume, {
    reserveBytes: 0,
    maxUploads: 1,
    unknownLengthBytes: 1,
  });
  t.equal(await codeOf(space.admitUpload(1)), 'STORAGE_TIMEOUT');
  t.equal(await codeOf(space.admitUpload(1)), 'STORAGE_TIMEOUT');
  t.strictSame(space.load, { uploads: 0, reservedBytes: 0 });
});
