/** The images of Longshore itself, as docker/ makes them, in both nodes. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { command } from './command.ts';
import { archiveOf, buildImage, idsOfBaseImages } from './images.ts';
import { importImage } from './nodes.ts';
import { places } from './places.ts';

const registry = 'docker.io/library';
/** As pods name them; the policy of pulling them is `Never`. */
export const projectImages = {
  runner: `${registry}/longshore-runner:test`,
  script: `${registry}/longshore-script:test`,
  agent: `${registry}/longshore-agent:test`,
} as const;

/** The image of scripts stands on that of the runner. */
const inOrder = ['runner', 'script', 'agent'] as const;

/** Builds the images of the project from its sources and imports them into both nodes.
 *  What did not change is neither built nor imported again. The first time needs the network, for apt and npm. */
export async function provideProjectImages(): Promise<void> {
  const context = join(places.images, 'project.context');
  await command('bash', [resolve('docker/context.sh'), context], { deadlineMs: 300_000 });
  const archives = inOrder.map((name) => archiveOf(projectImages[name]));
  const [stampFile, stamp] = [join(places.images, 'project.stamp'), stampOf(context)];
  const isBuilt = existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
  if (!isBuilt || !archives.every((archive) => existsSync(archive))) {
    rmSync(stampFile, { force: true });
    await buildAll(context);
    // Last: images of which only some were built are never believed.
    writeFileSync(stampFile, stamp);
  }
  for (const archive of archives) await importImage(archive);
}

async function buildAll(context: string): Promise<void> {
  // buildah takes a file with another time for another file.
  await command('find', [context, '-exec', 'touch', '--no-dereference', '--date=@0', '{}', '+']);
  for (const name of inOrder) {
    await buildImage({
      reference: projectImages[name],
      dockerfile: resolve('docker', name, 'Dockerfile'),
      context,
      ...(name === 'script' ? { arguments: { RUNNER_IMAGE: projectImages.runner } } : {}),
    });
  }
}

/** Over everything that the images are made of: the context as it lies there (its packages by what they were installed
 *  for, which context.sh writes beside it), Dockerfiles, base images, and the code that builds. */
function stampOf(context: string): string {
  const hash = createHash('sha256').update(JSON.stringify(idsOfBaseImages()));
  const files = [
    ...filesBelow(context).filter((path) => !path.startsWith(join(context, 'node_modules/'))),
    `${context}.packages`,
    ...filesBelow(resolve('docker')),
    ...['images.ts', 'project-images.ts'].map((name) => join(places.sources, name)),
  ];
  for (const file of files) hash.update(`\n${file}\n`).update(readFileSync(file));
  return hash.digest('hex');
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort();
}
