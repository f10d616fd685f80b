import { randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { Volume } from '../mount/volume.ts';
import type { Sha256 } from '../protocol/digest.ts';
import { UploadReceiver, type UploadOptions } from './upload-receiver.ts';

/** Bytes that arrived whole and are durable, under a name that only the caller knows. */
export interface ReceivedUpload {
  readonly temporary: string;
  readonly digest: Sha256;
  readonly size: number;
}

/** Nobody writes to a blob again; its packages are this very file under a second name. */
const BLOB_MODE = 0o444;

/**
 * Writes a body into a fresh file of `uploads/`, fsynced and closed, and tells its digest.
 *
 * Memory stays constant whatever the size (invariant 13). On any error no byte is left behind, unless the volume
 * refuses the removal too: then the sweeper takes it. `source` is left paused, for the caller to drain or destroy.
 *
 * @throws {Fault} BODY_TOO_LARGE, UPLOAD_INCOMPLETE, UPLOAD_TOO_SLOW, DIGEST_MISMATCH and STORAGE_ codes.
 */
export async function receiveUpload(
  volume: Volume,
  source: Readable,
  options: UploadOptions,
): Promise<ReceivedUpload> {
  const receiver = new UploadReceiver(source, options);
  const temporary = volume.layout.upload(randomBytes(16).toString('hex'));
  const file = await volume.create(temporary, 0o600).catch((error: unknown) => {
    receiver.abandon();
    throw error;
  });
  if (file === undefined) throw new TypeError(`${temporary} is not fresh`);
  try {
    const received = await receiver
      .receiveInto(file)
      .then(async (done) => {
        await file.changeMode(BLOB_MODE);
        await file.sync();
        return done;
      })
      .catch(async (error: unknown) => {
        // The first error is the one to tell; closing only gives the descriptor back.
        await file.close().catch(() => undefined);
        throw error;
      });
    await file.close();
    return { temporary, ...received };
  } catch (error) {
    await volume.remove(temporary).catch(() => undefined);
    throw error;
  }
}
