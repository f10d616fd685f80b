/** The disk with Longshore as it is built now: an installation as npm makes it, the Node of the tests, and the scripts of the guest. */
import { copyFileSync, cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { makeFileSystem } from './guest-image.ts';
import { places } from './places.ts';

/** Makes the disk anew from `.build`, the packages that Longshore needs at run time, and guest/. */
export async function buildProjectDisk(): Promise<void> {
  const folder = join(places.root, 'project');
  rmSync(folder, { recursive: true, force: true });
  for (const part of ['.build', 'bin', 'lab']) mkdirSync(join(folder, part), { recursive: true });
  for (const file of [...globSync('.build/*.js'), '.build/runner.cjs', 'package.json'])
    copyFileSync(file, join(folder, file));
  copyFileSync(process.execPath, join(folder, 'bin/node'));
  for (const file of globSync(join(places.sources, 'guest/*')))
    copyFileSync(file, join(folder, 'lab', basename(file)));
  for (const place of runtimePackages())
    // Packages below a package are packages of their own in the lockfile.
    cpSync(place, join(folder, place), {
      recursive: true,
      filter: (path) => path === place || basename(path) !== 'node_modules',
    });
  await makeFileSystem(places.projectDisk, folder, 64);
  rmSync(folder, { recursive: true });
}

/** The folders of the packages that `npm ci --omit=dev` would install. */
function runtimePackages(): string[] {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  return Object.keys(packages).filter(
    (place) => place !== '' && packages[place]?.dev !== true && existsSync(place),
  );
}
