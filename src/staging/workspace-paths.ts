import { Fault } from '../protocol/fault.ts';
import { foldedPath, type RelativePath } from '../protocol/relative-path.ts';

/**
 * Tells the folders that files need, parents first, once it is sure that no two of the names meet.
 *
 * Two paths meet when a file system that ignores case or Unicode form would take them for one, or when one is a file
 * where the other needs a folder. Volumes are such file systems often enough, and a script that was staged on one
 * must not be another on the next.
 *
 * @throws {Fault} PATH_INVALID naming both paths.
 */
export function foldersFor(paths: readonly RelativePath[]): RelativePath[] {
  const names = new Map<string, { path: RelativePath; kind: 'file' | 'folder' }>();
  const folders: RelativePath[] = [];
  const claim = (path: RelativePath, kind: 'file' | 'folder'): void => {
    const folded = foldedPath(path);
    const other = names.get(folded);
    if (other === undefined) {
      names.set(folded, { path, kind });
      if (kind === 'folder') folders.push(path);
    } else if (other.path !== path || other.kind === 'file' || kind === 'file') {
      throw collision(path, kind, other);
    }
  };
  for (const path of paths) {
    for (const folder of ancestorsOf(path)) claim(folder, 'folder');
    claim(path, 'file');
  }
  return folders;
}

/** `a` and `a/b` of `a/b/c`. */
function ancestorsOf(path: RelativePath): RelativePath[] {
  const segments = path.split('/');
  // The beginning of a path that stays inside its folder stays inside it too.
  return segments.slice(1).map((_, index) => segments.slice(0, index + 1).join('/') as RelativePath);
}

function collision(path: RelativePath, kind: string, other: { path: RelativePath; kind: string }): Fault {
  const [here, there] = [JSON.stringify(path), JSON.stringify(other.path)];
  const message =
    path === other.path
      ? kind === other.kind
        ? `the path ${here} is named twice`
        : `the path ${here} is both a file and a folder`
      : `the paths ${there} and ${here} are one on a file system that ignores case or Unicode form`;
  return new Fault('PATH_INVALID', message, { detail: { path, other: other.path } });
}
