import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Errors } from 'typebox/value';
import {
  CONFIG_SCHEMA,
  environmentNameOf,
  flagOf,
  KEYS,
  ruleOf,
  RULES,
  type Key,
  type Settings,
} from './config-schema.ts';
import { Fault } from './protocol/fault.ts';

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
  const initial = KEYS.filter((key) => RULES[key].default !== undefined).map(
    (key) => [key, { value: RULES[key].default, source: 'default' }] as const,
  );
  return {
    ...Object.fromEntries(initial),
    state: { value: stateFolder(environment), source: 'default' },
  };
}

/** A user of a container need not have a name, nor a home. */
function stateFolder({ XDG_STATE_HOME, HOME }: Environment): string {
  if (XDG_STATE_HOME) return join(XDG_STATE_HOME, 'longshore');
  const isService = process.getuid?.() === 0 || !HOME || HOME === '/';
  return isService ? '/var/lib/longshore' : join(HOME, '.local', 'state', 'longshore');
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
  const missing = settings.executor === 'local' ? [] : missingForPods(settings);
  return [...missing, ...pairs.flatMap(([name, value, holds, rule]) => (holds ? [] : [`${name} must be ${rule}, not ${value}`]))];
}

function missingForPods({ claim, claimAccess, nodeName }: Settings): string[] {
  const set = (key: Key): string => `set ${flagOf(key)} or ${environmentNameOf(key)}`;
  return [
    ...(claim === undefined ? [`claim is required for the executor kubernetes; ${set('claim')}`] : []),
    ...(claimAccess === 'rwo' && nodeName === undefined
      ? [`nodeName is required for claimAccess rwo; ${set('nodeName')}`]
      : []),
  ];
}

function absolute(given: Settings): Partial<Settings> {
  // Without a value these two lie in the state folder, wherever that is.
  const { tokens, key }: Partial<Settings> = given;
  const [volume, state] = [resolve(given.volume), resolve(given.state)];
  return {
    volume,
    state,
    tokens: resolve(tokens ?? join(state, 'tokens')),
    key: resolve(key ?? join(state, 'key')),
    ...(given.kubeconfig !== undefined && { kubeconfig: resolve(given.kubeconfig) }),
  };
}

/** What a text of a flag or variable is as a value; one that does not fit stays a text, which its rule refuses. */
function valueOf(key: Key, text: string): unknown {
  if (RULES[key].type === 'integer') return /^\d{1,16}$/.test(text) ? Number(text) : text;
  if (RULES[key].type !== 'object') return text;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

function invalid(problems: readonly string[]): Fault {
  const count = problems.length === 1 ? 'a rule' : `${problems.length} rules`;
  return new Fault('CONFIG_INVALID', `the configuration breaks ${count}: ${problems.join('; ')}`, {
    detail: { problems },
  });
}
