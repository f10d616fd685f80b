/** Receives 10 MiB into the volume that its argument names, and says how it ended. */
import { Readable } from 'node:stream';
import { errnoName } from '../../src/mount/errno.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { UploadMemory } from '../../src/staging/upload-memory.ts';
import { receiveUpload } from '../../src/staging/upload-writer.ts';
import { volumeAt } from '../harness/temporary-volume.ts';

const [folder = ''] = process.argv.slice(2);
const chunks = Array.from({ length: 10 }, () => Buffer.alloc(1024 * 1024));
const limits = { maxBytes: 2 ** 30, minBytesPerSecond: 1, rateWindowMs: 60_000 };
const memory = new UploadMemory(2 ** 22);
try {
  await receiveUpload(volumeAt(folder), Readable.from(chunks), { ...limits, memory });
  process.stdout.write('no error\n');
} catch (error) {
  const code = error instanceof Fault ? error.code : String(error);
  process.stdout.write(`${code} ${errnoName(error instanceof Fault ? error.cause : error)}\n`);
}
