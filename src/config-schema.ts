import { Type, type Static, type TInteger, type TObject, type TString } from 'typebox';

type Range = readonly [minimum: number, initial: number, maximum: number];

function whole(description: string, [minimum, initial, maximum]: Range): TInteger {
  return Type.Integer({ description, minimum, default: initial, maximum });
}

function path(description: string, extra: { initially?: string } = {}): TString {
  const rule =
    'a path of 1 to 4096 characters without NUL; a relative one is taken from the working directory';
  return Type.String({ description, rule, minLength: 1, maxLength: 4096, pattern: '^[^\\0]*$', ...extra });
}

function address(description: string, initial: string): TString {
  const rule = 'HOST:PORT with a port from 0 to 65535, where 0 takes a free one and [::1]:PORT is IPv6';
  const pattern = '^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9.-]+):\\d{1,5}$';
  return Type.String({ description, rule, pattern, default: initial });
}

const NAME = '^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$';

/** The name of an object of the cluster. */
function named(description: string, extra: { initially?: string } = {}): TString {
  const rule = 'a name of Kubernetes: 1 to 253 of a-z 0-9 - and ., with a letter or digit at both ends';
  return Type.String({ description, rule, pattern: NAME, ...extra });
}

function image(description: string, initial: string): TString {
  const rule = 'the name of a container image, 1 to 1000 characters without blanks';
  return Type.String({ description, rule, pattern: '^\\S{1,1000}$', default: initial });
}

const closed = { additionalProperties: false } as const;
const Texts = Type.Record(Type.String({ minLength: 1 }), Type.String());
const Quantities = Type.Record(
  Type.String({ minLength: 1 }),
  Type.String({ pattern: '^[0-9]+(\\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$' }),
);
const Toleration = Type.Object(
  {
    key: Type.Optional(Type.String()),
    operator: Type.Optional(Type.Enum(['Exists', 'Equal'])),
    value: Type.Optional(Type.String()),
    effect: Type.Optional(Type.Enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute'])),
    tolerationSeconds: Type.Optional(Type.Integer({ minimum: 0 })),
  },
  closed,
);

/** What every script pod has unless its script wishes, and may wish, something else. */
const PodDefaults = Type.Object(
  {
    serviceAccount: Type.Optional(Type.String({ pattern: NAME })),
    resources: Type.Optional(
      Type.Object({ requests: Type.Optional(Quantities), limits: Type.Optional(Quantities) }, closed),
    ),
    nodeSelector: Type.Optional(Texts),
    tolerations: Type.Optional(Type.Array(Toleration, { maxItems: 50 })),
    imagePullSecrets: Type.Optional(Type.Array(Type.String({ pattern: NAME }), { maxItems: 20 })),
    priorityClassName: Type.Optional(Type.String({ pattern: NAME })),
    labels: Type.Optional(Texts),
    annotations: Type.Optional(Texts),
  },
  closed,
);

/** What a script may wish of its pod; what is not named, none may. */
const PodPolicy = Type.Object(
  {
    images: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { maxItems: 1000 })),
    serviceAccounts: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { maxItems: 1000 })),
    resources: Type.Optional(Quantities),
    nodeSelector: Type.Optional(Type.Record(Type.String({ minLength: 1 }), Type.Array(Type.String()))),
    tolerations: Type.Optional(Type.Array(Toleration, { maxItems: 50 })),
  },
  closed,
);

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
const GIB = 2 ** 30;
const DAY_S = 86_400;
const HOUR_MS = 3_600_000;

/** A key whose value is an object: as JSON in a flag or variable, as it is in the file. */
function json<T extends TObject>(schema: T, description: string): T {
  return { ...schema, description, rule: 'a JSON object of those members', default: {} };
}

/**
 * Every setting of the agent, once: its type, its bounds, its default and the sentence that documents it.
 *
 * One key a line or two, since a table is read by its columns. Each number bounds something and has its unit in its name.
 */
// prettier-ignore
export const CONFIG_SCHEMA = Type.Object({
  volume: path('folder of the shared volume, where everything lies that must outlive this machine; required'),
  listen: address('address of the HTTP interface', '127.0.0.1:8460'),
  metrics: address('address of the metrics, on a port of their own', '127.0.0.1:8461'),
  state: path('folder on the local disk for the tokens, the key and the first copy of journals', { initially: '$XDG_STATE_HOME/longshore, for root and users without a home /var/lib/longshore, else ~/.local/state/longshore' }),
  tokens: path('file of the servers that may use this agent, one `name:token` a line; made with one random token when missing, read again when it changes', { initially: '<state>/tokens' }),
  key: path('file with the 32 random bytes, as base64, from which the keys of all scripts are derived; made when missing; agents of one volume need the same', { initially: '<state>/key' }),
  logLevel: Type.Enum(LOG_LEVELS, { description: 'least severe log lines that are written', default: 'info' }),

  volumeDeadlineMs: whole('for one operation on the volume, after which its caller is answered and the call goes on alone', [100, 10_000, HOUR_MS]),
  volumeSlowDeadlineMs: whole('the same for fsync, close and other operations that are slow on a healthy volume too', [100, 120_000, HOUR_MS]),
  volumeBudget: whole('operations on the volume that may be in the kernel at once; UV_THREADPOOL_SIZE must be larger by 8', [1, 24, 1016]),
  volumeQueueLimit: whole('operations that may wait for a place in volumeBudget', [0, 4096, 1_000_000]),
  volumeReserveBytes: whole('free bytes of the volume that uploads must leave to running scripts', [0, 256 * 2 ** 20, 2 ** 50]),

  probeIntervalMs: whole('from one look at whether the volume answers to the next; while something is wrong, one second', [100, 2500, HOUR_MS]),
  probeDeadlineMs: whole('for such a look; one that is missed makes the volume stalled', [100, 5000, HOUR_MS]),
  canaryDeadlineMs: whole('for writing a small file to the volume and reading it back', [100, 30_000, HOUR_MS]),
  serverProbeDeadlineMs: whole('for the server of an NFS volume to answer a call that touches no file, and for its name to be looked up', [100, 3000, HOUR_MS]),
  absentAgainMs: whole('time between two looks that find no epoch, before the volume counts as emptied', [100, 5000, HOUR_MS]),
  staleAfterMs: whole('how long the volume may answer with stale handles while its server is there, before it counts as lost', [100, 30_000, HOUR_MS]),
  stallLimitMs: whole('how long the volume may not answer before it counts as lost; 150000 where the grace period of its server is unknown or 90 s', [1000, 90_000, 24 * HOUR_MS]),
  maxHeldProbes: whole('processes that look at the volume and may hang in the kernel at once', [1, 4, 100]),

  maxConnections: whole('open connections to the HTTP interface', [1, 4096, 100_000]),
  maxUploads: whole('uploads under way at once; more are refused with 429', [1, 16, 1000]),
  uploadMaxBytes: whole('largest body of one upload', [1, 64 * GIB, 2 ** 50]),
  uploadMinBytesPerSecond: whole('slowest client of an upload, measured over uploadStallMs', [0, 1024, 2 ** 30]),
  uploadStallMs: whole('window over which the speed of an upload is measured; also the longest wait for a JSON body', [100, 30_000, HOUR_MS]),

  scriptBodyMaxBytes: whole('largest body of a start', [1024, 4 * 2 ** 20, 64 * 2 ** 20]),
  maxScripts: whole('scripts that are not over; more are refused with 429', [1, 500, 100_000]),
  maxDeadlineSeconds: whole('longest deadline that a start may ask for', [1, 7 * DAY_S, 7 * DAY_S]),
  defaultDeadlineSeconds: whole('deadline of a script that asks for none, from the start of its process', [1, DAY_S, 7 * DAY_S]),
  defaultGraceSeconds: whole('time between TERM and KILL for a script that asks for none', [0, 10, 600]),
  isolationTimeoutSeconds: whole('wait in an isolation line for a script that asks for none', [1, 3600, 7 * DAY_S]),
  journalMaxBytes: whole('journal that is kept of one script; lines beyond it are counted and not kept', [65_536, GIB, 2 ** 50]),
  copyMaxBytes: whole('local disk of one script that works on a copy: what was staged for it, what it writes there, and the artifacts that are brought back', [2 ** 20, 16 * GIB, 2 ** 50]),
  collectMs: whole('for bringing the artifacts of such a script to the volume; what is left then is told in its journal and not brought', [0, 600_000, 24 * HOUR_MS]),
  drainMs: whole('for the output of a script to close after its process ended', [0, 2000, 600_000]),
  launchTimeoutMs: whole('for a runner to take its script after it was started', [1000, 30_000, HOUR_MS]),
  reconcileMs: whole('time after which the volume is looked at again for what nobody told the agent', [50, 2000, HOUR_MS]),
  maxWaitSeconds: whole('longest wait that a status call may ask for', [0, 60, 600]),

  executor: Type.Enum(['local', 'kubernetes'], { description: 'where scripts run: as processes of this machine, or as pods of a cluster', default: 'local' }),
  kubeconfig: Type.Optional(path('file that says how to reach the API server; without it, the service account of the pod that the agent runs in')),
  namespace: Type.Optional(named('namespace of the script pods', { initially: 'that of the service account or of the kubeconfig' })),
  podGroup: Type.Optional(Type.String({ description: 'tells the pods of this agent and its replicas from those of other agents', rule: 'the value of a label: 1 to 63 of A-Z a-z 0-9 - _ and ., with a letter or digit at both ends', pattern: '^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$', initially: 'made from the key, the claim and its folder' })),
  podOwner: Type.Optional(named('Deployment of the agent, which then owns the script pods, so that they go with it; without it nobody owns them')),
  claim: Type.Optional(named('PersistentVolumeClaim of the volume, in the namespace of the script pods; required for kubernetes')),
  claimAccess: Type.Enum(['rwx', 'rwo'], { description: 'rwx: script pods run on any node; rwo: on the node of the agent', default: 'rwx' }),
  claimFolder: Type.Optional(Type.String({ description: 'folder of the claim that the agent has as its volume, where it has not all of it', rule: 'a path without a slash at its ends', pattern: '^[^/\\0](.*[^/\\0])?$', maxLength: 4096 })),
  podUid: Type.Optional(Type.Integer({ description: 'user of all processes of script pods; not 0', initially: "the agent's own", minimum: 1, maximum: 2 ** 31 - 1 })),
  podGid: Type.Optional(Type.Integer({ description: 'their group', initially: "the agent's own", minimum: 0, maximum: 2 ** 31 - 1 })),
  podName: Type.Optional(named('pod that the agent runs in: it gets Events about the storage, and is deleted, so that it is made anew, when its mount can never come back')),
  nodeName: Type.Optional(named('node that the agent runs on; required for rwo')),
  scriptImage: image('image of script pods whose script names none', 'longshore-script:0.1.0'),
  runnerImage: image('image that brings the runner into the pods of other images', 'longshore-runner:0.1.0'),
  runnerInjection: Type.Enum(['init', 'image-volume'], { description: 'how it does: an init container that copies, or a volume of the image where the cluster has them (Kubernetes 1.35, or its feature gate ImageVolume)', default: 'init' }),
  imagePullPolicy: Type.Enum(['IfNotPresent', 'Always', 'Never'], { description: 'of all images of script pods', default: 'IfNotPresent' }),
  podDefaults: json(PodDefaults, 'what script pods have: serviceAccount, resources, nodeSelector, tolerations, imagePullSecrets, priorityClassName, labels, annotations'),
  podPolicy: json(PodPolicy, 'what a script may wish in its `pod`: images and serviceAccounts (a * at the end stands for any rest), resources (the most of each), nodeSelector (values of each label), tolerations'),
  podLaunchTimeoutMs: whole('for a pod to be scheduled, its images to be fetched and its runner to take the script', [1000, 15 * 60_000, 24 * HOUR_MS]),
  podRetentionMinutes: whole('time that the pod of a finished script is kept when its server does not complete it', [0, 60, 525_600]),
  apiDeadlineMs: whole('for one call to the API server', [100, 10_000, HOUR_MS]),
  logSpoolBytes: whole('bytes of a pod log that are kept on the local disk; what was before is read from the volume', [2 ** 20, 32 * 2 ** 20, GIB]),

  finishedRetentionHours: whole('time that a finished script is kept for its server to collect it', [1, 168, 87_600]),
  tombstoneRetentionHours: whole('time that a completed ticket is remembered, so that it never runs again', [1, 720, 87_600]),
  blobRetentionHours: whole('time that a blob is kept which nothing names and nobody used', [1, 720, 87_600]),
  leftoverRetentionMinutes: whole('age at which half-made files of a killed agent are removed', [5, 1440, 525_600]),
  sweepMs: whole('time between two sweeps', [100, 600_000, 24 * HOUR_MS]),
  shutdownMs: whole('for what is under way when the agent is told to stop', [0, 10_000, HOUR_MS]),
}, { additionalProperties: false });

export type Settings = Static<typeof CONFIG_SCHEMA>;
export type Key = keyof Settings;

export const KEYS = Object.keys(CONFIG_SCHEMA.properties) as Key[];

/** What of a key's schema is read here; the library's own types tell its members apart and not what they share. */
interface KeyRule {
  readonly description: string;
  readonly default?: unknown;
  /** The default in words, where it depends on something. */
  readonly initially?: string;
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly rule?: string;
}
export const RULES = CONFIG_SCHEMA.properties as unknown as Readonly<Record<Key, KeyRule>>;

/** A row of docs/reference/configuration.md. */
export interface ConfigRow {
  readonly key: string;
  readonly flag: string;
  readonly environment: string;
  readonly rule: string;
  readonly initial: string;
  readonly says: string;
}

/** Documents every key, in the order of the schema. */
export function configRows(): ConfigRow[] {
  return KEYS.map((key) => {
    const { description, default: initial, initially } = RULES[key];
    const row = { key, flag: flagOf(key), environment: environmentNameOf(key), rule: ruleOf(key) };
    const text = typeof initial === 'string' ? initial : (JSON.stringify(initial) ?? '');
    return { ...row, initial: initially ?? text, says: description };
  });
}

export function ruleOf(key: Key): string {
  const { type, minimum, maximum, rule, enum: values } = RULES[key];
  if (type === 'integer') return `an integer from ${minimum ?? 0} to ${maximum ?? Number.MAX_SAFE_INTEGER}`;
  return rule ?? `one of ${(values ?? []).join(', ')}`;
}

export function flagOf(key: Key): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

export function environmentNameOf(key: Key): string {
  return `LONGSHORE_${flagOf(key).slice(2).replaceAll('-', '_').toUpperCase()}`;
}
