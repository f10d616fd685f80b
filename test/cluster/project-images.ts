/** The images of Longshore itself, as docker/ makes them, in both nodes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { command } from './command.ts';
import { buildImage } from './images.ts';
import { importImage } from './nodes.ts';

const registry = 'docker.io/library';
/** As pods name them; the policy of pulling them is `Never`. */
export const projectImages = {
  runner: `${registry}/longshore-runner:test`,
  script: `${registry}/longshore-script:test`,
  agent: `${registry}/longshore-agent:test`,
} as const;

/** Builds the images of the project from the built sources in .build and imports them into both nodes.
 *  Steps of a Dockerfile whose input did not change are not repeated. Needs the network the first time, for apt. */
export async function provideProjectImages(): Promise<void> {
  const context = mkdtempSync(join(tmpdir(), 'longshore-images-'));
  try {
    await command('bash', [resolve('docker/context.sh'), context], { deadlineMs: 300_000 });
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
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}
