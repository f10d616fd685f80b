/** The images of Longshore itself, as docker/ makes them, in both nodes. */
import { join, resolve } from 'node:path';
import { command } from './command.ts';
import { buildImage } from './images.ts';
import { importImage } from './nodes.ts';
import { places } from './places.ts';

const registry = 'docker.io/library';
/** As pods name them; the policy of pulling them is `Never`. */
export const projectImages = {
  runner: `${registry}/longshore-runner:test`,
  script: `${registry}/longshore-script:test`,
  agent: `${registry}/longshore-agent:test`,
} as const;

/** Builds the images of the project from its sources and imports them into both nodes.
 *  What did not change is neither built nor imported again. The first time needs the network, for apt and npm. */
export async function provideProjectImages(): Promise<void> {
  const context = join(places.images, 'project.context');
  await command('bash', [resolve('docker/context.sh'), context], { deadlineMs: 300_000 });
  // buildah takes a file with another time for another file.
  await command('find', [context, '-exec', 'touch', '--no-dereference', '--date=@0', '{}', '+']);
  // The image of scripts stands on that of the runner.
  for (const name of ['runner', 'script', 'agent'] as const) {
    const archive = await buildImage({
      reference: projectImages[name],
      dockerfile: resolve('docker', name, 'Dockerfile'),
      context,
      ...(name === 'script' ? { arguments: { RUNNER_IMAGE: projectImages.runner } } : {}),
    });
    await importImage(archive);
  }
}
