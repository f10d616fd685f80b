/** Kubernetes and what it stands on, built from the modules that `modules/<name>/go.sum` pins. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from './command.ts';
import { places } from './places.ts';

export const kubernetesVersion = 'v1.34.4';
const containerdVersion = 'v2.1.5';

interface Recipe {
  readonly module: string;
  readonly of: string;
  readonly stamps?: Readonly<Record<string, string>>;
}

const kubernetes = (name: string): Recipe => ({
  module: 'kubernetes',
  of: `k8s.io/kubernetes/cmd/${name}`,
  // Clients and components compare versions; without these a component calls itself v0.0.0-master.
  stamps: {
    'k8s.io/component-base/version.gitVersion': kubernetesVersion,
    'k8s.io/component-base/version.gitMajor': '1',
    'k8s.io/component-base/version.gitMinor': '34',
    'k8s.io/component-base/version.gitTreeState': 'clean',
  },
});
const containerd = (name: string): Recipe => ({
  module: 'containerd',
  of: `github.com/containerd/containerd/v2/cmd/${name}`,
  stamps: { 'github.com/containerd/containerd/v2/version.Version': containerdVersion },
});

const recipes = {
  pause: { module: 'pause', of: '.' },
  etcd: { module: 'etcd', of: 'go.etcd.io/etcd/server/v3' },
  containerd: containerd('containerd'),
  'containerd-shim-runc-v2': containerd('containerd-shim-runc-v2'),
  ctr: containerd('ctr'),
  coredns: { module: 'coredns', of: '.' },
  kubectl: kubernetes('kubectl'),
  'kube-scheduler': kubernetes('kube-scheduler'),
  'kube-proxy': kubernetes('kube-proxy'),
  'kube-controller-manager': kubernetes('kube-controller-manager'),
  'kube-apiserver': kubernetes('kube-apiserver'),
  kubelet: kubernetes('kubelet'),
} as const satisfies Record<string, Recipe>;

export type Binary = keyof typeof recipes;

export function binary(name: Binary): string {
  return join(places.bin, name);
}

/** One build takes minutes on a cold cache of Go; ten times that is a machine that does something else. */
const BUILD_DEADLINE_MS = 3_600_000;

/** Builds what is missing or was built from other sources; says so for each program.
 *  A program appears whole or not at all, so that an interrupted build is repeated and never believed. */
export async function buildBinaries(say: (line: string) => void): Promise<void> {
  mkdirSync(places.bin, { recursive: true });
  const go = (await command('go', ['env', 'GOVERSION'])).trim();
  for (const [name, recipe] of Object.entries<Recipe>(recipes)) {
    const { module, of, stamps = {} } = recipe;
    const source = join(places.sources, 'modules', module);
    const flags = ['-s', '-w', ...Object.entries(stamps).map(([key, value]) => `-X ${key}=${value}`)];
    const args = ['build', '-trimpath', '-buildvcs=false', '-tags', 'no_btrfs no_devmapper no_zfs'];
    args.push('-ldflags', flags.join(' '));
    const stamp = fingerprint(source, [go, ...args, of]);
    const target = join(places.bin, name);
    if (existsSync(target) && read(`${target}.stamp`) === stamp) continue;
    const startedAt = performance.now();
    await command('go', [...args, '-o', `${target}.new`, of], {
      cwd: source,
      env: { CGO_ENABLED: '0', GOFLAGS: '' },
      deadlineMs: BUILD_DEADLINE_MS,
    });
    renameSync(`${target}.new`, target);
    writeFileSync(`${target}.stamp`, stamp);
    say(`built ${name} in ${((performance.now() - startedAt) / 1000).toFixed(0)} s`);
  }
}

function fingerprint(source: string, facts: readonly string[]): string {
  const hash = createHash('sha256').update(JSON.stringify(facts));
  for (const file of readdirSync(source).sort()) hash.update(readFileSync(join(source, file)));
  return hash.digest('hex');
}

function read(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}
