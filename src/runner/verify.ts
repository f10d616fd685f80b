import { createHash } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { sha256Of } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import { parseManifest, type Manifest, type ManifestEntry } from '../protocol/manifest.ts';
import type { RunOrder } from '../protocol/run-order.ts';
import { WorkspaceLayout } from '../protocol/volume-layout.ts';
import type { LocalCopy } from './local-copy.ts';
import { patiently } from './patience.ts';
import { isAbsent, isNoFile } from './storage-fault.ts';
import type { VolumeFiles } from './volume-files.ts';

/** What a verification reads with and when it may stop. */
export interface Verification {
  readonly files: VolumeFiles;
  readonly signal: AbortSignal;
  /** Gets every file as it is read, for a script that works on local disk. */
  readonly copy?: LocalCopy | undefined;
}

/** Files read at once; fewer than the pool has threads, so that hung reads leave one for everything else. */
const CONCURRENCY = 3;
const CHUNK_BYTES = 1024 * 1024;
const MAX_EPOCH_BYTES = 4096;
const MAX_MANIFEST_BYTES = 64 * 1024 * 1024;

/**
 * Reads everything that was staged, on this side of the mount, before anything of it runs (invariant 2).
 *
 * Returns when the volume is the one that was staged on, the manifest the one that was ordered, and every file of it
 * whole; `files/` and `packages/` hold nothing else. The volume is only read, and once; may run beside anything.
 *
 * @throws {Fault} STORAGE_EMPTIED, STORAGE_REPLACED about the epoch; STAGING_MISMATCH naming the first path that
 * differs; STORAGE_ codes of the reads themselves; STAGING_DISK_FULL, RUNNER_FAILED of the copy.
 */
export async function verifyWorkspace(order: RunOrder, verification: Verification): Promise<void> {
  const { files } = verification;
  const places = new WorkspaceLayout(order.workspace);
  await verifyEpoch(order, files);
  const manifest = await readManifest(order, files);
  await verification.copy?.begin(manifest);
  await verifyEntries(places, manifest, verification);
  await verifyNothingElse(places, manifest, files);
}

async function verifyEpoch({ epochFile, epoch }: RunOrder, files: VolumeFiles): Promise<void> {
  const bytes = await orAbsent(() => files.readAll(epochFile, MAX_EPOCH_BYTES));
  if (bytes === undefined) throw new Fault('STORAGE_EMPTIED', `the volume has no epoch at ${epochFile}`);
  const found = bytes.toString('utf8').trim();
  if (found === epoch.trim()) return;
  throw new Fault(
    'STORAGE_REPLACED',
    `the volume has the epoch ${found.slice(0, 80)} where ${epoch} was staged on`,
  );
}

async function readManifest({ workspace, manifestDigest }: RunOrder, files: VolumeFiles): Promise<Manifest> {
  const path = new WorkspaceLayout(workspace).manifest;
  const bytes = await orAbsent(() => files.readAll(path, MAX_MANIFEST_BYTES));
  if (bytes === undefined) throw mismatch('manifest.json is missing');
  const found = sha256Of(bytes);
  if (found !== manifestDigest)
    throw mismatch(`manifest.json has the SHA-256 ${found}, not ${manifestDigest}`);
  const manifest = parseManifest(bytes);
  if (manifest === undefined) throw mismatch('manifest.json has its SHA-256 and is no manifest');
  // What is run must be among what is verified.
  if (!manifest.entries.some((entry) => entry.path === 'script'))
    throw mismatch('manifest.json has no script');
  return manifest;
}

async function verifyEntries(
  places: WorkspaceLayout,
  manifest: Manifest,
  verification: Verification,
): Promise<void> {
  const { entries } = manifest;
  const failures = new Map<number, unknown>();
  let next = 0;
  const worker = async (): Promise<void> => {
    let buffer = Buffer.alloc(0);
    while (next < entries.length && failures.size === 0 && !verification.signal.aborted) {
      const index = next++;
      const entry = entries[index];
      if (entry === undefined) return;
      const room = Math.min(entry.size + 1, CHUNK_BYTES);
      if (buffer.length < room) buffer = Buffer.allocUnsafe(room);
      await verifyEntry(places, entry, { ...verification, buffer }).catch((error: unknown) => {
        failures.set(index, error);
      });
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  // Entries are taken in order, so that the first one that fails is the first one of the manifest, whoever read it.
  const first = Math.min(...failures.keys());
  if (failures.has(first)) throw failures.get(first);
}

interface EntryReader extends Verification {
  readonly buffer: Buffer;
}

async function verifyEntry(
  places: WorkspaceLayout,
  entry: ManifestEntry,
  reader: EntryReader,
): Promise<void> {
  const found = await orAbsent(() => digestOf(places, entry, reader)).catch((error: unknown) => {
    throw isNoFile(error) ? mismatch(`${entry.path} is no plain file`, error) : error;
  });
  if (found === undefined) throw mismatch(`${entry.path} is missing`);
  if (found.size !== entry.size) {
    const seen = found.size > entry.size ? 'more' : `${found.size} bytes`;
    throw mismatch(`${entry.path} has ${seen} where ${entry.size} bytes were staged`);
  }
  if (found.sha256 === entry.sha256) return;
  throw mismatch(`${entry.path} has the SHA-256 ${found.sha256}, not ${entry.sha256}`);
}

/** Reads to the end, or until there is more than was staged; hands on what it reads. */
async function digestOf(
  places: WorkspaceLayout,
  entry: ManifestEntry,
  { files, copy, signal, buffer }: EntryReader,
): Promise<{ size: number; sha256: string }> {
  const hash = createHash('sha256');
  let size = 0;
  const target = await copy?.open(entry.path);
  try {
    await files.readThrough(places.entry(entry.path), buffer, (part) => {
      hash.update(part);
      size += part.length;
      // Read to the end, which is where less came than there was room for.
      const more = size < entry.size || (size === entry.size && part.length === buffer.length);
      if (signal.aborted) return false;
      return target === undefined ? more : target.write(part).then(() => more);
    });
  } finally {
    await target?.close();
  }
  return { size, sha256: hash.digest('hex') };
}

async function verifyNothingElse(
  places: WorkspaceLayout,
  manifest: Manifest,
  files: VolumeFiles,
): Promise<void> {
  const staged = new Set<string>();
  const folders = new Set<string>(['files', 'packages']);
  for (const { path } of manifest.entries) {
    staged.add(path);
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1))
      folders.add(path.slice(0, at));
  }
  const walk = async (folder: string): Promise<void> => {
    const found = await patiently(() => files.list(`${places.root}/${folder}`));
    for (const entry of found.sort((left, right) => (left.name < right.name ? -1 : 1))) {
      const path = `${folder}/${entry.name}`;
      if (!isStaged(entry, path, { staged, folders })) throw mismatch(`${path} was not staged`);
      if (entry.isDirectory()) await walk(path);
    }
  };
  await walk('files');
  await walk('packages');
}

function isStaged(
  entry: Dirent,
  path: string,
  known: { staged: Set<string>; folders: Set<string> },
): boolean {
  return entry.isDirectory() ? known.folders.has(path) : entry.isFile() && known.staged.has(path);
}

async function orAbsent<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await patiently(work);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

function mismatch(seen: string, cause?: unknown): Fault {
  return new Fault('STAGING_MISMATCH', seen, { cause });
}
