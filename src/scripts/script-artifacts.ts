import type { Volume } from '../mount/volume.ts';
import type { VolumeFile } from '../mount/volume-file.ts';
import { Fault } from '../protocol/fault.ts';
import { parseRelativePath, type RelativePath } from '../protocol/relative-path.ts';
import type { ScriptKey } from '../protocol/ticket.ts';

export interface Artifact {
  readonly name: string;
  readonly size: number;
}

const MAX_ARTIFACTS = 10_000;

/** Lists the plain files below out/artifacts of a finished script, at most 10,000; links are not followed. */
export async function listArtifacts(volume: Volume, key: ScriptKey): Promise<Artifact[]> {
  const found: Artifact[] = [];
  for await (const name of artifactNames(volume, key)) {
    const file = await volume.openToRead(volume.layout.workspace(key).artifact(name));
    if (file === undefined) continue;
    try {
      const { size, isFile } = await file.stat();
      if (isFile) found.push({ name, size });
    } finally {
      await file.close();
    }
    if (found.length >= MAX_ARTIFACTS) break;
  }
  return found;
}

/**
 * Opens one artifact; the caller closes it.
 *
 * Only what listing finds can be opened: a name never leads through a link out of the workspace, since the script,
 * which alone could swap one in, has ended.
 *
 * @throws {Fault} ARTIFACT_UNKNOWN.
 */
export async function openArtifact(
  volume: Volume,
  key: ScriptKey,
  name: string,
): Promise<{ size: number; file: VolumeFile }> {
  const path = parseRelativePath(name);
  const file =
    path &&
    (await isThere(volume, key, path)) &&
    (await volume.openToRead(volume.layout.workspace(key).artifact(path)));
  if (!file) throw unknown(name);
  const { size, isFile } = await file.stat();
  if (isFile) return { size, file };
  await file.close();
  throw unknown(name);
}

function unknown(name: string): Fault {
  return new Fault(
    'ARTIFACT_UNKNOWN',
    `the script left no file ${JSON.stringify(name.slice(0, 200))} in its artifacts`,
  );
}

async function isThere(volume: Volume, key: ScriptKey, path: RelativePath): Promise<boolean> {
  for await (const name of artifactNames(volume, key)) if (name === path) return true;
  return false;
}

/** Walks folder by folder, in the order of names; depth and length are bounded by the rule for relative paths. */
async function* artifactNames(volume: Volume, key: ScriptKey): AsyncGenerator<RelativePath> {
  const workspace = volume.layout.workspace(key);
  const folders = [''];
  for (let folder = folders.shift(); folder !== undefined; folder = folders.shift()) {
    const inside = folder === '' ? '' : parseRelativePath(folder.slice(0, -1));
    if (inside === undefined) continue;
    const entries =
      (await volume.list(inside === '' ? workspace.artifacts : workspace.artifact(inside))) ?? [];
    for (const entry of entries.toSorted((left, right) => (left.name < right.name ? -1 : 1))) {
      const path = parseRelativePath(`${folder}${entry.name}`);
      if (path === undefined) continue;
      if (entry.isDirectory() && folders.length < MAX_ARTIFACTS) folders.push(`${path}/`);
      if (entry.isFile()) yield path;
    }
  }
}
