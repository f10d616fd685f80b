/** The disks with Longshore: an installation as npm makes it, but on two disks, since only one of them changes all the time. */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { makeFileSystem } from './guest-image.ts';
import { places } from './places.ts';

/** Makes the disk of Longshore as it is built now, and, where they have changed, that of its packages and their Node. */
export async function buildProjectDisks(): Promise<void> {
  const folder = join(places.root, 'project');
  rmSync(folder, { recursive: true, force: true });
  for (const part of ['.build', 'lab', 'node_modules']) mkdirSync(join(folder, part), { recursive: true });
  for (const file of [...globSync('.build/*.{js,cjs}'), 'package.json'])
    copyFileSync(file, join(folder, file));
  for (const file of globSync(join(places.sources, 'guest/*')))
    copyFileSync(file, join(folder, 'lab', basename(file)));
  await makeFileSystem(places.projectDisk, folder, 16);
  rmSync(folder, { recursive: true });
  await buildPackagesDisk();
}

async function buildPackagesDisk(): Promise<void> {
  const lockfile = readFileSync('package-lock.json', 'utf8');
  const stamp = createHash('sha256').update(lockfile).update(process.version).digest('hex');
  const stampFile = `${places.packagesDisk}.stamp`;
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) return;
  rmSync(stampFile, { force: true });
  const folder = join(places.root, 'packages');
  rmSync(folder, { recursive: true, force: true });
  for (const place of runtimePackages(lockfile))
    // Packages below a package are packages of their own in the lockfile.
    cpSync(place, join(folder, place), {
      recursive: true,
      filter: (path) => path === place || basename(path) !== 'node_modules',
    });
  mkdirSync(join(folder, 'node_modules/.bin'));
  copyFileSync(process.execPath, join(folder, 'node_modules/.bin/node'));
  await makeFileSystem(places.packagesDisk, join(folder, 'node_modules'), 64);
  rmSync(folder, { recursive: true });
  writeFileSync(stampFile, stamp);
}

/** The folders of the packages that `npm ci --omit=dev` would install. */
function runtimePackages(lockfile: string): string[] {
  const { packages } = JSON.parse(lockfile) as { packages: Record<string, { dev?: boolean }> };
  return Object.keys(packages).filter(
    (place) => place !== '' && packages[place]?.dev !== true && existsSync(place),
  );
}
