/** The map of the house: which room may import which rooms, packages and builtins. */

const every = [
  'api',
  'scripts',
  'staging',
  'mount',
  'runner',
  'client',
  'telemetry',
  'doctor',
  'dashboard',
  'config.ts',
  'config-schema.ts',
];
const executors = ['executors/executor.ts', 'executors/local', 'executors/kubernetes'];

/** Room → the rooms that it may import, beside itself and protocol. */
export const arrows: Readonly<Record<string, readonly string[]>> = {
  'cli.ts': [...every, ...executors, 'serve.ts', 'package.json'],
  'serve.ts': [...every, ...executors, 'wiring.ts'],
  'wiring.ts': [
    ...every,
    ...executors,
    'wiring-pods.ts',
    'wiring-mount.ts',
    'wiring-agent-pod.ts',
    'package.json',
  ],
  'wiring-pods.ts': [...every, ...executors],
  'wiring-mount.ts': [...every],
  'wiring-agent-pod.ts': [...every, ...executors],
  'config.ts': ['config-schema.ts'],
  'config-schema.ts': [],
  api: ['scripts', 'staging', 'mount'],
  scripts: ['staging', 'mount', 'executors/executor.ts'],
  'executors/executor.ts': [],
  'executors/local': ['executors/executor.ts'],
  'executors/kubernetes': ['executors/executor.ts'],
  staging: ['mount'],
  mount: [],
  runner: [],
  client: [],
  doctor: ['mount', 'executors/kubernetes', 'client'],
  telemetry: [],
  dashboard: ['client'],
  protocol: [],
};

/** Package → the rooms that may import it. A new dependency needs a row here and a decision in docs/decisions/. */
export const packages: Readonly<Record<string, readonly string[]>> = {
  fastify: ['api'],
  '@fastify/swagger': ['api'],
  '@fastify/type-provider-typebox': ['api'],
  typebox: ['api', 'config.ts', 'config-schema.ts'],
  '@kubernetes/client-node': ['executors/kubernetes'],
  undici: ['executors/kubernetes'],
  chokidar: ['mount'],
  'proper-lockfile': ['staging'],
  pino: ['telemetry'],
  'prom-client': ['telemetry'],
  commander: ['cli.ts', 'client'],
  'cli-progress': ['cli.ts', 'client'],
};

/** Builtin → where it may be imported, and why only there. Builtins without a row are free, except in protocol. */
export const builtins: Readonly<Record<string, { readonly only: RegExp; readonly why: string }>> = {
  fs: {
    only: /^src\/(mount\/|runner\/|config\.ts$|executors\/(local|kubernetes)\/|client\/local-file\.ts$|doctor\/(doctor-command|trial-(names|bytes|times|folder)|whole-file|change-watch|(left|right|inside)-node)\.ts$)/,
    why: 'any call on a mount may hang for ever, so every one passes the gate of mount/',
  },
  child_process: {
    only: /^src\/(runner\/|executors\/local\/|mount\/(probe[^/]*|whole-flush)\.ts$|doctor\/trial-child\.ts$)/,
    why: 'a spawn that touches a dead mount freezes the event loop; only the rooms that guard against it may spawn',
  },
  path: {
    only: /^src\/(?!(scripts|staging|api)\/)/,
    why: 'paths on the volume are joined only in protocol/volume-layout.ts',
  },
};

/** The room of a file under src/: its first folder, its own name at the top, two parts under executors/. */
export function roomOf(path: string): string {
  const parts = path.split('/').slice(1);
  return (parts[0] === 'executors' ? parts.slice(0, 2) : parts.slice(0, 1)).join('/');
}
