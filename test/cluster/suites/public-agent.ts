import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';

/** The built agent where any user may run it; the folder of the project may be closed to all but its owner. */
export interface PublicAgent {
  readonly node: string;
  readonly program: readonly string[];
  remove(): void;
}

/** Copies the programs, Node, and the packages that they need at run time. */
export function makePublicAgent(): PublicAgent {
  const folder = mkdtempSync(join(tmpdir(), 'longshore-agent-'));
  chmodSync(folder, 0o755);
  const node = join(folder, 'node');
  copyFileSync(process.execPath, node);
  chmodSync(node, 0o755);
  copyFileSync('package.json', join(folder, 'package.json'));
  const isProgram = (path: string): boolean =>
    !path.includes('.build/test') && !path.includes('.build/types');
  cpSync('.build', join(folder, '.build'), { recursive: true, filter: isProgram });
  const listed = execFileSync('npm', ['ls', '--omit=dev', '--all', '--parseable'], { encoding: 'utf8' });
  for (const path of listed.trim().split('\n').slice(1)) {
    cpSync(path, join(folder, relative(resolve('.'), path)), { recursive: true });
  }
  return {
    node,
    program: [join(folder, '.build/cli.js'), 'serve'],
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
