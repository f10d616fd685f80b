import { randomBytes } from 'node:crypto';
import { inParallel } from '../mount/in-parallel.ts';
import type { Volume } from '../mount/volume.ts';
import { sha256Of, type Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import type { ScriptKey } from '../protocol/ticket.ts';
import { writeDurable } from './atomic-file.ts';
import { serializeManifest } from '../protocol/manifest.ts';
import { placeBytes, placeFiles, placePackages, putAll } from './placement.ts';
import type { PlannedFile, PlannedPackage, Stores } from './placement.ts';
import { foldersFor } from './workspace-paths.ts';

export type { PlannedFile, PlannedPackage, Stores } from './placement.ts';

/** What is to be staged for one script. */
export interface WorkspacePlan {
  readonly key: ScriptKey;
  readonly script: Buffer;
  readonly files: readonly PlannedFile[];
  readonly packages: readonly PlannedPackage[];
}

/** A workspace that nobody sees yet; `staging` names it for publishWorkspace. */
export interface StagedWorkspace {
  readonly staging: string;
  readonly manifestDigest: Sha256;
  readonly bytes: number;
  readonly files: number;
}

const FOLDERS_AT_ONCE = 16;

/**
 * Stages a workspace under a fresh name: script, files, packages, empty out/, and last the manifest. Durable on return:
 * a record that names the folder afterwards will find it.
 *
 *   check everything ▶ reserve space ▶ folders ▶ files, each fsynced ▶ manifest, folders fsynced ▶ root, work/ fsynced
 *
 * An error leaves no folder behind, unless the volume refuses its removal too: then the sweeper takes it.
 *
 * @throws {Fault} PATH_INVALID, PACKAGE_MISSING and BLOB_MISSING naming which; STORAGE_FULL; other STORAGE_ codes.
 */
export async function stageWorkspace(
  volume: Volume,
  stores: Stores,
  plan: WorkspacePlan,
): Promise<StagedWorkspace> {
  const folders = foldersFor(plan.files.map(({ path }) => path));
  const packages = await placePackages(stores, 'packages', plan.packages);
  // No two of them have one name: `a.b` of version 1 and `a` of version `b.1` would.
  foldersFor(packages.map(({ path }) => path));
  const files = await placeFiles(stores, 'files', plan.files);
  const placements = [placeBytes('script', plan.script), ...files, ...packages];
  const bytes = placements.reduce((sum, { size }) => sum + size, 0);
  const staging = randomBytes(8).toString('hex');
  const workspace = volume.layout.staging(staging);
  const reservation = await stores.blobs.space.reserve(bytes);
  try {
    const fixed = [workspace.root, workspace.files, workspace.packages, workspace.out, workspace.artifacts];
    const asked = folders.map((folder) => `${workspace.files}/${folder}`);
    await makeFresh(volume, workspace.root);
    await Promise.all(
      [workspace.files, workspace.packages, workspace.out].map((folder) => makeFresh(volume, folder)),
    );
    for (const folder of [workspace.artifacts, ...asked]) await makeFresh(volume, folder);
    await putAll(volume, placements, (path) => workspace.entry(path));
    const entries = placements.map(({ path, size, digest }) => ({ path, size, sha256: digest() }));
    const manifest = serializeManifest({ version: 1, key: plan.key, entries });
    const inner = [...fixed.slice(1), ...asked];
    await Promise.all([
      inParallel(inner, FOLDERS_AT_ONCE, (folder) => volume.syncFolder(folder)),
      writeDurable(volume, workspace.manifest, manifest),
    ]);
    await Promise.all([volume.syncFolder(workspace.root), volume.syncFolder(volume.layout.work)]);
    return { staging, manifestDigest: sha256Of(manifest), bytes, files: placements.length };
  } catch (error) {
    // The first error is the one to tell.
    await volume.removeTree(workspace.root).catch(() => undefined);
    throw error;
  } finally {
    reservation.release();
  }
}

/**
 * Gives a staged workspace its name. Whoever finds the ticket may call it, again and at the same time: only one
 * folder was staged for the ticket's record, so that the first rename is the only one. Not durable by itself, and need
 * not be: after a power cut the folder has its old name, and whoever finds the record renames it again.
 *
 * @throws {Fault} WORKSPACE_LOST when there is neither the staged folder nor the workspace.
 */
export async function publishWorkspace(volume: Volume, staging: string, key: ScriptKey): Promise<void> {
  const target = volume.layout.workspace(key);
  const renamed = await volume.rename(volume.layout.staging(staging).root, target.root);
  if (!renamed && (await volume.look(target.manifest)) === undefined) {
    const message = `there is neither the staged folder ${staging} nor the workspace ${key}`;
    throw new Fault('WORKSPACE_LOST', message, { detail: { staging, key } });
  }
}

/** Removes a workspace with all that the script left; nothing happens where there is none. May be repeated. */
export async function removeWorkspace(volume: Volume, key: ScriptKey): Promise<void> {
  // Out of its name first, so that nobody sees half a workspace; what is left of it after a kill, the sweeper takes.
  const doomed = volume.layout.staging(randomBytes(8).toString('hex')).root;
  if (await volume.rename(volume.layout.workspace(key).root, doomed)) await volume.removeTree(doomed);
}

/** Removes what was staged and is not needed: another agent was first to publish the ticket. */
export async function removeStaged(volume: Volume, staging: string): Promise<void> {
  await volume.removeTree(volume.layout.staging(staging).root);
}

async function makeFresh(volume: Volume, folder: string): Promise<void> {
  if (!(await volume.makeFolder(folder))) throw new Fault('STORAGE_ERROR', `${folder} is there already`);
}
