import type { StartedClaim } from '../protocol/run-order.ts';
import { patiently } from './patience.ts';
import { cannotSyncFolders, hasNoLinks, isAbsent, isNoFile, isTaken } from './storage-fault.ts';
import { temporaryBeside, type VolumeFiles } from './volume-files.ts';

/** A claim that is ours. */
export interface TakenClaim {
  /**
   * Settles when the claim is durable: before that, nothing of the script may run, or a power cut of the server lets
   * a second runner run it. Rejects with a STORAGE_ fault.
   */
  readonly durable: Promise<void>;
  /** What its file holds. */
  readonly bytes: Buffer;
}

const MAX_CLAIM_BYTES = 16 * 1024;

/**
 * Takes the only right to run a script that will ever be given (invariant 3), by making `target`; undefined where it
 * is taken. Of runners that race, on one node or several, exactly one gets it.
 *
 * @throws {Fault} STORAGE_ codes. Nothing of the script may run then: whether the claim was made is not known.
 * Source: link(2), "if newpath exists, it will not be overwritten"; open(2), O_EXCL, where there are no hard links.
 */
export async function takeClaim(
  files: VolumeFiles,
  target: string,
  claim: StartedClaim,
): Promise<TakenClaim | undefined> {
  const bytes = Buffer.from(`${JSON.stringify(claim)}\n`);
  const temporary = await patiently(async () => {
    const name = temporaryBeside(target);
    await files.createDurable(name, bytes);
    return name;
  });
  const taken = await publish(files, { temporary, target, bytes });
  // Only a second name of the same file, and otherwise a sweeper's work: never a reason to fail.
  const removed = files.remove(temporary).catch(() => undefined);
  if (taken) return { durable: syncFolderOf(files, target).finally(() => removed), bytes };
  await removed;
  return undefined;
}

interface Publication {
  readonly temporary: string;
  readonly target: string;
  readonly bytes: Buffer;
}

async function publish(files: VolumeFiles, { temporary, target, bytes }: Publication): Promise<boolean> {
  try {
    await files.link(temporary, target);
    return true;
  } catch (error) {
    // The answer to a link may be lost and the link made again by the client: then the file that is there is ours.
    if (isTaken(error)) return bytes.equals(await files.readAll(target, MAX_CLAIM_BYTES).catch(notOurs));
    if (!hasNoLinks(error)) throw error;
  }
  try {
    await files.createDurable(target, bytes);
    return true;
  } catch (error) {
    if (isTaken(error)) return false;
    throw error;
  }
}

/** What cannot be read or is too long, a folder that an agent put there for example, is another one's claim. */
function notOurs(): Buffer {
  return Buffer.alloc(0);
}

/** Tells whether the claim is there, read anew by its path. @throws {Fault} STORAGE_ codes but for its absence. */
export async function isClaimThere(files: VolumeFiles, target: string, bytes: Buffer): Promise<boolean> {
  try {
    return bytes.equals(await patiently(() => files.readAll(target, MAX_CLAIM_BYTES)));
  } catch (error) {
    if (isAbsent(error) || isNoFile(error) || error instanceof RangeError) return false;
    throw error;
  }
}

async function syncFolderOf(files: VolumeFiles, path: string): Promise<void> {
  try {
    await files.sync(path.slice(0, path.lastIndexOf('/')));
  } catch (error) {
    if (!cannotSyncFolders(error)) throw error;
  }
}
