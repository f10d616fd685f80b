import { promises as fs, type Dirent, type Stats } from 'node:fs';
import type { NotCollected } from '../protocol/end-record.ts';
import { parseRelativePath, RELATIVE_PATH_RULE, type RelativePath } from '../protocol/relative-path.ts';
import type { WorkspaceLayout } from '../protocol/volume-layout.ts';
import { onDisk } from './local-copy.ts';

export interface FoundArtifact {
  readonly path: RelativePath;
  readonly bytes: number;
}

type Refused = NotCollected['first'][number];

/** As many as the agent lists. */
const MAX_ARTIFACTS = 10_000;
/** So much of a name that breaks the rule is shown. */
const SHOWN_CHARACTERS = 100;

/**
 * Finds what a copied script left in its artifacts on local disk: plain files, at most 10,000 and `maxBytes` together,
 * in the order of folders and names; and what is refused, with the reason.
 */
export async function findArtifacts(
  from: WorkspaceLayout,
  maxBytes: number,
): Promise<{ found: FoundArtifact[]; refused: Refused[] }> {
  const found: FoundArtifact[] = [];
  const refused: Refused[] = [];
  let left = maxBytes;
  const root = await lookAt(from.artifacts);
  if (root === undefined) return { found, refused };
  if (!root.isDirectory()) {
    // Nor is a link followed that the script put in the place of the folder.
    return {
      found,
      refused: [{ path: '.', bytes: 0, says: 'something else is in the place of the folder' }],
    };
  }
  for await (const { path, entry } of walk(from.artifacts, refused)) {
    const bytes = (await lookAt(from.artifact(path)))?.size ?? 0;
    const why = refusalOf(entry, { bytes, left, count: found.length });
    if (why !== undefined) refused.push({ path, bytes, says: why });
    else found.push({ path, bytes });
    if (why === undefined) left -= bytes;
    if (refused.length >= MAX_ARTIFACTS) break;
  }
  return { found, refused };
}

interface Budget {
  readonly bytes: number;
  readonly left: number;
  readonly count: number;
}

function refusalOf(entry: Dirent, { bytes, left, count }: Budget): string | undefined {
  if (!entry.isFile()) return 'it is no plain file';
  if (count >= MAX_ARTIFACTS) return `an artifact beyond the ${MAX_ARTIFACTS} that are kept`;
  return bytes > left ? 'beyond the bytes that are kept (copyMaxBytes)' : undefined;
}

async function* walk(
  root: string,
  refused: Refused[],
): AsyncGenerator<{ path: RelativePath; entry: Dirent }> {
  const folders = [''];
  for (let folder = folders.shift(); folder !== undefined; folder = folders.shift()) {
    for (const entry of await listFolder(`${root}/${folder}`)) {
      const path = parseRelativePath(`${folder}${entry.name}`);
      if (path === undefined) {
        const shown = JSON.stringify(`${folder}${entry.name}`.slice(0, SHOWN_CHARACTERS));
        refused.push({ path: shown, bytes: 0, says: `its name is not ${RELATIVE_PATH_RULE}` });
      } else if (entry.isDirectory()) folders.push(`${path}/`);
      else yield { path, entry };
      if (refused.length >= MAX_ARTIFACTS || folders.length > MAX_ARTIFACTS) return;
    }
  }
}

/** A folder that the script closed to everybody is its owner's, which we are, to open. */
async function listFolder(folder: string): Promise<Dirent[]> {
  const entries = await onDisk('list', folder, async () => {
    await fs.chmod(folder, 0o700);
    return fs.readdir(folder, { withFileTypes: true });
  });
  return entries.sort((left, right) => (left.name < right.name ? -1 : 1));
}

/** Undefined where there is nothing. */
async function lookAt(path: string): Promise<Stats | undefined> {
  try {
    return await fs.lstat(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
