/** Images without a registry: built by buildah from Dockerfiles, kept as archives, and imported into the nodes. */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { binary } from './binaries.ts';
import { command } from './command.ts';
import { places } from './places.ts';

const BUILD_DEADLINE_MS = 900_000;

interface BaseImage {
  readonly reference: string;
  /** File in the context → where it lies on this machine. */
  readonly files: () => Promise<Readonly<Record<string, string>>>;
}

/** In the order in which they can be built. */
const baseImages = {
  pause: {
    reference: 'registry.k8s.io/pause:3.10',
    files: async () => ({ pause: binary('pause') }),
  },
  busybox: {
    reference: 'docker.io/library/busybox:stable',
    files: async () => ({ busybox: '/bin/busybox' }),
  },
  debian: {
    reference: 'docker.io/library/debian:bookworm-slim',
    files: async () => ({ 'debian.tar': await debianRoot() }),
  },
  node: {
    reference: 'docker.io/library/node:24-bookworm-slim',
    // The tests run on the Node that package.json pins, and its images get the same.
    files: async () => ({ node: process.execPath }),
  },
} as const satisfies Record<string, BaseImage>;

/** The images that pods of tests name, as archives for `importImage`. */
export const nodeImages = (['pause', 'busybox', 'debian'] as const).map((name) =>
  archiveOf(baseImages[name].reference),
);

/** Builds the base images that are missing, or whose Dockerfile or files are others by now. */
export async function buildBaseImages(say: (line: string) => void): Promise<void> {
  for (const [name, { reference, files }] of Object.entries<BaseImage>(baseImages)) {
    const context = join(places.images, `${name}.context`);
    const dockerfile = join(places.sources, 'images', name, 'Dockerfile');
    const startedAt = performance.now();
    const wanted = await files();
    const stamp = stampOf(dockerfile, Object.values(wanted));
    if (stampFile(reference) === stamp) continue;
    mkdirSync(context, { recursive: true });
    for (const [file, source] of Object.entries(wanted)) copyFileSync(source, join(context, file));
    await buildImage({ reference, dockerfile, context });
    rmSync(context, { recursive: true });
    writeFileSync(`${archiveOf(reference)}.stamp`, stamp);
    say(`made image ${reference} in ${((performance.now() - startedAt) / 1000).toFixed(0)} s`);
  }
}

/** What the base images are, once they are built. */
export function idsOfBaseImages(): string[] {
  return Object.values(baseImages).map(({ reference }) => readFileSync(`${archiveOf(reference)}.id`, 'utf8'));
}

export interface ImageBuild {
  /** With registry and tag, such as `docker.io/library/agent:test`. */
  readonly reference: string;
  readonly dockerfile: string;
  /** The folder that COPY reads. */
  readonly context: string;
  readonly arguments?: Readonly<Record<string, string>>;
}

/** Builds an image whose Dockerfile stands on the base images, and returns its archive.
 *  Steps that did not change are not repeated; the archive of an image that did not change is not touched. */
export async function buildImage(build: ImageBuild): Promise<string> {
  const { reference, dockerfile, context } = build;
  mkdirSync(places.images, { recursive: true });
  const archive = archiveOf(reference);
  const settings = Object.entries(build.arguments ?? {}).flatMap(([name, value]) => [
    '--build-arg',
    `${name}=${value}`,
  ]);
  const how = ['--isolation', 'chroot', '--pull-never', '--layers', '--iidfile', `${archive}.id.new`];
  await buildah(['bud', ...how, ...settings, '--file', dockerfile, '--tag', reference, context]);
  const id = readFileSync(`${archive}.id.new`, 'utf8');
  if (existsSync(archive) && existsSync(`${archive}.id`) && readFileSync(`${archive}.id`, 'utf8') === id)
    return archive;
  rmSync(`${archive}.new`, { force: true });
  // An archive of this kind holds the layers as they are; the other one compresses them, and the nodes undo it.
  await buildah(['push', reference, `docker-archive:${archive}.new:${reference}`]);
  rmSync(`${archive}.id`, { force: true });
  renameSync(`${archive}.new`, archive);
  renameSync(`${archive}.id.new`, `${archive}.id`);
  return archive;
}

/** Where the archive of an image lies, whether it is there or not. */
export function archiveOf(reference: string): string {
  return join(places.images, `${reference.replace(/[^\w.-]+/g, '_')}.tar`);
}

async function buildah(args: readonly string[]): Promise<string> {
  const store = ['--root', join(places.buildah, 'store'), '--runroot', join(places.buildah, 'run')];
  return command('buildah', [...store, '--storage-driver', 'overlay', ...args], {
    deadlineMs: BUILD_DEADLINE_MS,
  });
}

/** A file system of Debian with what the image of that name has; fetched once. */
async function debianRoot(): Promise<string> {
  const [root, archive] = [join(places.images, 'debian.root'), join(places.images, 'debian.tar')];
  if (existsSync(archive)) return archive;
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root, { recursive: true });
  await command('debootstrap', ['--variant=minbase', 'bookworm', root], { deadlineMs: BUILD_DEADLINE_MS });
  const unwanted = [
    'dev/*',
    'var/cache/apt/*',
    'var/lib/apt/lists/*',
    'var/log/*',
    'usr/share/doc/*',
    'usr/share/man/*',
    'usr/share/locale/*',
  ];
  const excludes = unwanted.map((pattern) => `--exclude=./${pattern}`);
  await command('tar', ['-C', root, '--numeric-owner', ...excludes, '-cf', `${archive}.new`, '.'], {
    deadlineMs: 300_000,
  });
  renameSync(`${archive}.new`, archive);
  rmSync(root, { recursive: true });
  return archive;
}

function stampOf(dockerfile: string, files: readonly string[]): string {
  const hash = createHash('sha256').update(readFileSync(dockerfile));
  for (const file of files) {
    const { size, mtimeMs } = statSync(file);
    hash.update(JSON.stringify([file, size, mtimeMs]));
  }
  return hash.digest('hex');
}

function stampFile(reference: string): string | undefined {
  const archive = archiveOf(reference);
  return existsSync(archive) && existsSync(`${archive}.stamp`)
    ? readFileSync(`${archive}.stamp`, 'utf8')
    : undefined;
}
