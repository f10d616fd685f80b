import { readFileSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Type, type Static, type TInteger, type TString } from 'typebox';
import { Errors } from 'typebox/value';
import { Fault } from './protocol/fault.ts';

type Range = readonly [minimum: number, initial: number, maximum: number];

function whole(description: string, [minimum, initial, maximum]: Range): TInteger {
  return Type.Integer({ description, minimum, default: initial, maximum });
}

function path(description: string, extra: { default?: string } = {}): TString {
  const rule =
    'a path of 1 to 4096 characters without NUL; a relative one is taken from the working directory';
  return Type.String({ description, rule, minLength: 1, maxLength: 4096, pattern: '^[^\\0]*$', ...extra });
}

function address(description: string, initial: string): TString {
  const rule = 'HOST:PORT with a port from 0 to 65535, where 0 takes a free one and [::1]:PORT is IPv6';
  const pattern = '^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9.-]+):\\d{1,5}$';
  return Type.String({ description, rule, pattern, default: initial });
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
const GIB = 2 ** 30;
const DAY_S = 86_400;
const HOUR_MS = 3_600_000;

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
  state: path('folder on the local disk for the tokens, the key and the first copy of journals', { default: '$XDG_STATE_HOME/longshore, for root /var/lib/longshore, else ~/.local/state/longshore' }),
  tokens: path('file of the servers that may use this agent, one `name:token` a line; made with one random token when missing, read again when it changes', { default: '<state>/tokens' }),
  key: path('file with the 32 random bytes, as base64, from which the keys of all scripts are derived; made when missing; agents of one volume need the same', { default: '<state>/key' }),
  logLevel: Type.Enum(LOG_LEVELS, { description: 'least severe log lines that are written', default: 'info' }),

  volumeDeadlineMs: whole('for one operation on the volume, after which its caller is answered and the call goes on alone', [100, 10_000, HOUR_MS]),
  volumeSlowDeadlineMs: whole('the same for fsync, close and other operations that are slow on a healthy volume too', [100, 120_000, HOUR_MS]),
  volumeBudget: whole('operations on the volume that may be in the kernel at once; UV_THREADPOOL_SIZE must be larger by 8', [1, 24, 1016]),
  volumeQueueLimit: whole('operations that may wait for a place in volumeBudget', [0, 4096, 1_000_000]),
  volumeReserveBytes: whole('free bytes of the volume that uploads must leave to running scripts', [0, 256 * 2 ** 20, 2 ** 50]),

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
  drainMs: whole('for the output of a script to close after its process ended', [0, 2000, 600_000]),
  launchTimeoutMs: whole('for a runner to take its script after it was started', [1000, 30_000, HOUR_MS]),
  reconcileMs: whole('time after which the volume is looked at again for what nobody told the agent', [50, 2000, HOUR_MS]),
  maxWaitSeconds: whole('longest wait that a status call may ask for', [0, 60, 600]),

  finishedRetentionHours: whole('time that a finished script is kept for its server to collect it', [1, 168, 87_600]),
  tombstoneRetentionHours: whole('time that a completed ticket is remembered, so that it never runs again', [1, 720, 87_600]),
  blobRetentionHours: whole('time that a blob is kept which nothing names and nobody used', [1, 720, 87_600]),
  leftoverRetentionMinutes: whole('age at which half-made files of a killed agent are removed', [5, 1440, 525_600]),
  sweepMs: whole('time between two sweeps', [100, 600_000, 24 * HOUR_MS]),
  shutdownMs: whole('for what is under way when the agent is told to stop', [0, 10_000, HOUR_MS]),
}, { additionalProperties: false });

type Settings = Static<typeof CONFIG_SCHEMA>;
type Key = keyof Settings;

/** The configuration of an agent, whole, checked and frozen. */
export type Config = Readonly<Settings> & {
  /** What UV_THREADPOOL_SIZE says; libuv reads it itself, once, before any of our code runs. */
  readonly threadPoolSize: number;
};

type Environment = Readonly<Record<string, string | undefined>>;

interface Found {
  readonly value: unknown;
  readonly source: string;
}

/** Threads that stay for work beside the volume: names, keys, local files. */
const SPARE_THREADS = 8;
const UV_DEFAULT_THREADS = 4;
const KEYS = Object.keys(CONFIG_SCHEMA.properties) as Key[];

/** What of a key's schema is read here; the library's own types tell its members apart and not what they share. */
interface KeyRule {
  readonly description: string;
  readonly default?: string | number;
  readonly type?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly rule?: string;
}
const RULES = CONFIG_SCHEMA.properties as unknown as Readonly<Record<Key, KeyRule>>;

/**
 * Reads the configuration: defaults, below the JSON file of `--config` or LONGSHORE_CONFIG, below LONGSHORE_* of the
 * environment, below flags (`--volume-budget 24`). Makes and opens nothing else.
 *
 * @throws {Fault} CONFIG_INVALID that lists every broken rule with its source, key and value.
 */
export function loadConfig(flags: readonly string[], environment: Environment = process.env): Config {
  const problems: string[] = [];
  const given = parsedFlags(flags, problems);
  const file = given.get('config') ?? environment['LONGSHORE_CONFIG'];
  const found: Partial<Record<Key, Found>> = {
    ...defaults(environment),
    ...(file && fromFile(file, problems)),
    // An empty variable is how compose files and charts say "not set".
    ...fromTexts(environmentNameOf, (name) => environment[name] || undefined),
    ...fromTexts(flagOf, (flag) => given.get(flag.slice(2))),
  };
  const values: Record<string, unknown> = {};
  for (const key of KEYS) values[key] = checked(key, found[key], problems);
  const threadPoolSize = Number(environment['UV_THREADPOOL_SIZE'] ?? UV_DEFAULT_THREADS);
  // A key whose rule is broken is among the problems, and then nothing is returned.
  const settings = values as Settings;
  if (problems.length === 0) problems.push(...brokenPairs(settings, threadPoolSize));
  if (problems.length > 0) throw invalid(problems);
  return Object.freeze({ ...settings, ...absolute(settings), threadPoolSize });
}

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
    const { description, default: initial } = RULES[key];
    const row = { key, flag: flagOf(key), environment: environmentNameOf(key), rule: ruleOf(key) };
    return { ...row, initial: initial === undefined ? '' : String(initial), says: description };
  });
}

/** Splits HOST:PORT that a configuration holds. */
export function addressOf(text: string): { host: string; port: number } {
  const at = text.lastIndexOf(':');
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) };
}

/** Reads a variable of the environment for the command line, which gives a script what nobody should see in `ps`. */
export function environmentValue(name: string, environment: Environment = process.env): string | undefined {
  return environment[name];
}

/** The environment that runners get: the agent's own, without what is addressed to the agent. */
export function runnerEnvironment(environment: Environment = process.env): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('LONGSHORE_')));
}

/** Where an agent of this user keeps its tokens unless it was told otherwise. */
export function defaultTokensFile(environment: Environment = process.env): string {
  const state = environment['LONGSHORE_STATE'] ?? stateFolder(environment);
  return environment['LONGSHORE_TOKENS'] ?? join(state, 'tokens');
}

function defaults(environment: Environment): Partial<Record<Key, Found>> {
  const initial = KEYS.map((key) => [key, { value: RULES[key].default, source: 'default' }] as const);
  const { volume, tokens, key, ...found }: Partial<Record<Key, Found>> = Object.fromEntries(initial);
  return { ...found, state: { value: stateFolder(environment), source: 'default' } };
}

function stateFolder(environment: Environment): string {
  if (environment['XDG_STATE_HOME']) return join(environment['XDG_STATE_HOME'], 'longshore');
  return userInfo().uid === 0 ? '/var/lib/longshore' : join(homedir(), '.local', 'state', 'longshore');
}

function fromFile(file: string, problems: string[]): Partial<Record<Key, Found>> {
  const entries = Object.entries(parsedFile(file, problems));
  const strange = entries.map(([name]) => name).filter((name) => !Object.hasOwn(RULES, name));
  problems.push(...strange.map((name) => `${file}: there is no key ${JSON.stringify(name)}`));
  return Object.fromEntries(entries.map(([name, value]) => [name, { value, source: file }]));
}

function parsedFile(file: string, problems: string[]): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
    problems.push(`${file}: the configuration file must hold one JSON object`);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    problems.push(`${file}: the configuration file cannot be read: ${why}`);
  }
  return {};
}

/** The keys that `textOf` has a text for, under the name of their source. */
function fromTexts(
  sourceOf: (key: Key) => string,
  textOf: (source: string) => string | undefined,
): Partial<Record<Key, Found>> {
  const entries = KEYS.flatMap((key) => {
    const source = sourceOf(key);
    const text = textOf(source);
    return text === undefined ? [] : [[key, { value: valueOf(key, text), source }] as const];
  });
  return Object.fromEntries(entries);
}

function parsedFlags(flags: readonly string[], problems: string[]): Map<string, string> {
  const names = [...KEYS.map(flagOf), '--config'].map((flag) => flag.slice(2));
  const options = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]));
  try {
    const values: Record<string, unknown> = parseArgs({ args: [...flags], options, strict: true }).values;
    return new Map(Object.entries(values).map(([name, value]) => [name, String(value)]));
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error));
    return new Map();
  }
}

function checked(key: Key, found: Found | undefined, problems: string[]): unknown {
  if (found === undefined) {
    const set = `set ${flagOf(key)} or ${environmentNameOf(key)}`;
    if (key === 'volume') problems.push(`volume: the folder of the volume is required; ${set}`);
    return undefined;
  }
  const { value, source } = found;
  const port = key === 'listen' || key === 'metrics' ? addressOf(String(value)).port : 0;
  if (Errors(CONFIG_SCHEMA.properties[key], value).length > 0 || port > 65_535) {
    const seen = JSON.stringify(value)?.slice(0, 200);
    problems.push(`${source}: ${key} must be ${ruleOf(key)}, not ${seen}`);
  }
  return value;
}

// prettier-ignore
function brokenPairs(settings: Settings, threadPoolSize: number): string[] {
  const { volumeBudget, volumeDeadlineMs, volumeSlowDeadlineMs } = settings;
  const { defaultDeadlineSeconds, maxDeadlineSeconds } = settings;
  const threads = volumeBudget + SPARE_THREADS;
  const pairs: readonly [name: string, value: number, holds: boolean, rule: string][] = [
    ['UV_THREADPOOL_SIZE', threadPoolSize, threadPoolSize >= threads, `at least volumeBudget + 8 = ${threads}`],
    ['defaultDeadlineSeconds', defaultDeadlineSeconds, defaultDeadlineSeconds <= maxDeadlineSeconds, `at most maxDeadlineSeconds = ${maxDeadlineSeconds}`],
    ['volumeSlowDeadlineMs', volumeSlowDeadlineMs, volumeSlowDeadlineMs >= volumeDeadlineMs, `at least volumeDeadlineMs = ${volumeDeadlineMs}`],
  ];
  return pairs.flatMap(([name, value, holds, rule]) => (holds ? [] : [`${name} must be ${rule}, not ${value}`]));
}

function absolute(given: Settings): Pick<Settings, 'volume' | 'state' | 'tokens' | 'key'> {
  // Without a value these two lie in the state folder, wherever that is.
  const { tokens, key }: Partial<Settings> = given;
  const [volume, state] = [resolve(given.volume), resolve(given.state)];
  return {
    volume,
    state,
    tokens: resolve(tokens ?? join(state, 'tokens')),
    key: resolve(key ?? join(state, 'key')),
  };
}

/** What a text of a flag or variable is as a value; one that is no number stays a text, which its rule refuses. */
function valueOf(key: Key, text: string): unknown {
  return RULES[key].type === 'integer' && /^\d{1,16}$/.test(text) ? Number(text) : text;
}

function ruleOf(key: Key): string {
  const { type, minimum, maximum, rule } = RULES[key];
  if (type === 'integer') return `an integer from ${minimum ?? 0} to ${maximum ?? Number.MAX_SAFE_INTEGER}`;
  return rule ?? `one of ${LOG_LEVELS.join(', ')}`;
}

function flagOf(key: Key): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function environmentNameOf(key: Key): string {
  return `LONGSHORE_${flagOf(key).slice(2).replaceAll('-', '_').toUpperCase()}`;
}

function invalid(problems: readonly string[]): Fault {
  const count = problems.length === 1 ? 'a rule' : `${problems.length} rules`;
  return new Fault('CONFIG_INVALID', `the configuration breaks ${count}: ${problems.join('; ')}`, {
    detail: { problems },
  });
}
