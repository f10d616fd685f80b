import { createHash } from 'node:crypto';
import { constants, promises as fs } from 'node:fs';
import type { NotCollected } from '../protocol/end-record.ts';
import { Fault } from '../protocol/fault.ts';
import type { Belief } from '../protocol/mount-belief.ts';
import type { RelativePath } from '../protocol/relative-path.ts';
import type { WorkspaceLayout } from '../protocol/volume-layout.ts';
import { findArtifacts, type FoundArtifact } from './artifact-search.ts';
import { onDisk } from './local-copy.ts';
import { mayHeal } from './through-stalls.ts';
import { temporaryBeside, type VolumeFiles } from './volume-files.ts';

export interface Collection {
  readonly files: VolumeFiles;
  /** The places on local disk and those on the volume. */
  readonly from: WorkspaceLayout;
  readonly to: WorkspaceLayout;
  /** Bytes that are brought to the volume at most. */
  readonly maxBytes: number;
  /** Nothing more is begun. */
  readonly signal: AbortSignal;
  /** Waits until it is known what to believe of the volume. */
  readonly settled: () => Promise<Belief>;
}

/** Fewer than the pool has threads, so that hung calls leave one for everything else. */
const CONCURRENCY = 3;
const CHUNK_BYTES = 1024 * 1024;
const MAX_TRIES = 3;
/** Names in the end record; beyond them only numbers. */
const MAX_NAMED = 20;
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Brings what a copied script left in its artifacts to the volume, each file whole or not at all, durable, and read back
 * by its path before it gets its name.
 *
 * What the volume does not take fails nobody: it is returned with names and sizes; undefined where all of it is there.
 * Never rejects for the volume.
 */
export async function collectArtifacts(collection: Collection): Promise<NotCollected | undefined> {
  const { found, refused } = await findArtifacts(collection.from, collection.maxBytes);
  const missing = [...refused];
  let next = 0;
  let ended = found.length > 0 ? refusalOf(await collection.settled()) : undefined;
  const worker = async (): Promise<void> => {
    for (let artifact = found[next++]; artifact !== undefined; artifact = found[next++]) {
      if (collection.signal.aborted) ended ??= 'the time for it was over';
      const says = ended ?? (await bring(collection, artifact));
      if (says !== undefined) missing.push({ ...artifact, says });
      // Others would only wait for their deadlines, too.
      if (collection.files.overdue > 0) ended ??= 'the volume did not answer';
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return missing.length === 0 ? undefined : reportOf(missing);
}

/** Says in one sentence what is missing. */
export function sayNotCollected({ files, bytes, first }: NotCollected): string {
  const named = first.map(({ path, bytes: size, says }) => `${path} (${size} bytes: ${says})`).join(', ');
  const more = files > first.length ? `, and ${files - first.length} more` : '';
  const count = files === 1 ? '1 artifact' : `${files} artifacts`;
  return `${count} of ${bytes} bytes did not get to the volume: ${named}${more}`;
}

function reportOf(missing: NotCollected['first']): NotCollected {
  const sorted = missing.toSorted((left, right) => (left.path < right.path ? -1 : 1));
  const bytes = missing.reduce((sum, artifact) => sum + artifact.bytes, 0);
  return { files: missing.length, bytes, first: sorted.slice(0, MAX_NAMED) };
}

/** Undefined where the file is on the volume, otherwise why not. */
async function bring(collection: Collection, { path }: FoundArtifact): Promise<string | undefined> {
  for (let tries = 1; ; tries += 1) {
    try {
      await bringOnce(collection, path);
      return undefined;
    } catch (error) {
      const isLast = tries === MAX_TRIES || collection.signal.aborted || !mayHeal(error);
      const refusal = isLast ? sentenceOf(error) : refusalOf(await collection.settled());
      if (refusal !== undefined) return refusal;
    }
  }
}

function refusalOf({ verdict, code, says }: Belief): string | undefined {
  return verdict === 'trusted' ? undefined : `${code ?? verdict}: ${says}`;
}

function sentenceOf(error: unknown): string {
  return error instanceof Fault ? `${error.code}: ${error.message}` : String(error);
}

async function bringOnce({ files, from, to }: Collection, path: RelativePath): Promise<void> {
  const target = to.artifact(path);
  const temporary = temporaryBeside(`${to.out}/artifact`);
  await makeFolders(files, to, path);
  const local = from.artifact(path);
  const handle = await onDisk('open', local, () => fs.open(local, READ));
  try {
    const hash = createHash('sha256');
    await files.createDurableFrom(
      temporary,
      partsOf(handle, (part) => hash.update(part)),
    );
    if ((await digestOf(files, temporary)) !== hash.digest('hex'))
      throw new Fault('STORAGE_ERROR', `${temporary} does not hold what was written to it`);
    await files.rename(temporary, target);
    await files.sync(target.slice(0, target.lastIndexOf('/')));
  } catch (error) {
    // Swept with the workspace in any case; a volume that hangs is not asked again.
    if (files.overdue === 0) await files.remove(temporary).catch(() => undefined);
    throw error;
  } finally {
    await handle.close();
  }
}

async function makeFolders(files: VolumeFiles, to: WorkspaceLayout, path: RelativePath): Promise<void> {
  for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) {
    await files.makeFolder(`${to.artifacts}/${path.slice(0, at)}`);
  }
}

async function* partsOf(handle: fs.FileHandle, see: (part: Buffer) => void): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  for (;;) {
    const { bytesRead } = await onDisk('read', 'an artifact', () => handle.read(buffer, 0, CHUNK_BYTES));
    if (bytesRead === 0) return;
    see(buffer.subarray(0, bytesRead));
    yield buffer.subarray(0, bytesRead);
  }
}

/** Read by its path: on a network file system a write may go to a file that the path no longer leads to. */
async function digestOf(files: VolumeFiles, path: string): Promise<string> {
  const hash = createHash('sha256');
  await files.readThrough(path, Buffer.allocUnsafe(CHUNK_BYTES), (part) => {
    hash.update(part);
    return true;
  });
  return hash.digest('hex');
}
