import type { StartedClaim } from '../protocol/run-order.ts';
import { cannotSyncFolders, hasNoLinks, isTaken } from './storage-fault.ts';
import { patiently } from './patience.ts';
import { temporaryBeside, type VolumeFiles } from './volume-files.ts';

const MAX_CLAIM_BYTES = 16 * 1024;

/**
 * Takes the only right to run a script that will ever be given (invariant 3), by making `target`; false where it is taken.
 *
 * Of runners that race, on one node or several, exactly one gets true. Durable only after `syncClaim`: wait for that
 * before anything of the script runs, or a power cut of the server may let a second one run it.
 *
 * @throws {Fault} STORAGE_ codes. Nothing of the script may run then: whether the claim was made is not known.
 * Source: link(2), "if newpath exists, it will not be overwritten"; open(2), O_EXCL, where there are no hard links.
 */
export async function takeClaim(files: VolumeFiles, target: string, claim: StartedClaim): Promise<boolean> {
  const bytes = Buffer.from(`${JSON.stringify(claim)}\n`);
  const temporary = await patiently(async () => {
    const name = temporaryBeside(target);
    await files.createDurable(name, bytes);
    return name;
  });
  const taken = await publish(files, { temporary, target, bytes });
  // Only a second name of the same file, or a sweeper's work: never a reason to fail.
  await files.remove(temporary).catch(() => undefined);
  return taken;
}

/** Makes a claim durable that was taken. @throws {Fault} STORAGE_ codes; a file system that cannot do it is let pass. */
export async function syncClaim(files: VolumeFiles, target: string): Promise<void> {
  try {
    await files.sync(folderOf(target));
  } catch (error) {
    if (!cannotSyncFolders(error)) throw error;
  }
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

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}
