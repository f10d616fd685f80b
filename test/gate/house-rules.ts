/** The rules of the house, each a pure function from the sources to what breaks it. */
import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import { arrows, builtins, packages, roomOf } from './house-map.ts';
import type { Import, Mark, SourceFacts, Tree } from './source-facts.ts';
import { factsOf } from './source-facts.ts';

/** One broken rule: what is wrong at which place, and why the rule exists. */
export interface Violation {
  readonly rule: string;
  readonly place: string;
  readonly says: string;
}

/** The files under src/ by their room, and the tests that look at them. */
export interface House {
  readonly sources: readonly SourceFacts[];
  readonly tests: readonly SourceFacts[];
}

export function houseOf(tree: Tree): House {
  const facts = [...tree].map(([path, text]) => factsOf(path, text));
  return {
    sources: facts.filter(({ path }) => path.startsWith('src/')),
    tests: facts.filter(({ path }) => path.startsWith('test/')),
  };
}

const at = (file: SourceFacts, line: number) => `${file.path}:${line}`;

function targetOf(file: SourceFacts, { specifier }: Import): string | undefined {
  return specifier.startsWith('.') ? posix.join(posix.dirname(file.path), specifier) : undefined;
}

function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith('.') || isBuiltin(specifier)) return undefined;
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

function eachImport(
  house: House,
  rule: string,
  judge: (file: SourceFacts, one: Import) => string | undefined,
): Violation[] {
  return house.sources.flatMap((file) =>
    file.imports.flatMap((one) => {
      const says = judge(file, one);
      return says === undefined ? [] : [{ rule, place: at(file, one.line), says }];
    }),
  );
}

function eachMark(
  house: House,
  rule: string,
  marksOf: (file: SourceFacts) => readonly Mark[],
  judge: (file: SourceFacts, text: string) => string | undefined,
): Violation[] {
  return house.sources.flatMap((file) =>
    marksOf(file).flatMap(({ text, line }) => {
      const says = judge(file, text);
      return says === undefined ? [] : [{ rule, place: at(file, line), says }];
    }),
  );
}

/** Rule 1: imports follow the arrows; type-only imports count, except that any room but protocol may name `Config`. */
export function importArrows(house: House): Violation[] {
  const strangers = house.sources
    .filter(({ path }) => arrows[roomOf(path)] === undefined)
    .map(({ path }) => ({ rule: 'arrows', place: path, says: `${roomOf(path)} is no room of the house` }));
  const crossed = eachImport(house, 'arrows', (file, one) => {
    const target = targetOf(file, one);
    if (target === undefined) return undefined;
    const from = roomOf(file.path);
    const to = target.startsWith('src/') ? roomOf(target) : target;
    const allowed = arrows[from] ?? [];
    const namesConfig =
      to === 'config.ts' && one.typeOnly && one.names.length === 1 && one.names[0] === 'Config';
    if (from === to || allowed.includes(to) || to === 'protocol') return undefined;
    if (namesConfig && from !== 'protocol') return undefined;
    const may = [...allowed, ...(from === 'protocol' ? [] : ['protocol'])].join(', ') || 'nothing';
    return `${from} imports ${target}, but ${from} may import only ${may}: arrows run one way`;
  });
  return [...strangers, ...crossed];
}

/** Rules 2, 4 and 8: builtins that reach the world have their rooms; protocol has none but crypto and buffer. */
export function builtinRooms(house: House): Violation[] {
  return eachImport(house, 'builtins', (file, { specifier }) => {
    if (!isBuiltin(specifier)) return undefined;
    if (!specifier.startsWith('node:')) return `${specifier} is a builtin: write node:${specifier}`;
    const name = specifier.slice('node:'.length).split('/', 1).join('');
    if (roomOf(file.path) === 'protocol' && !['crypto', 'buffer'].includes(name)) {
      return `protocol imports ${specifier}, but may only import node:crypto and node:buffer: it is shared by all sides`;
    }
    const row = builtins[name];
    return row === undefined || row.only.test(file.path)
      ? undefined
      : `${specifier} is not for this file: ${row.why}`;
  });
}

/** Rule 5: a package is imported only by the rooms of its row. */
export function packageRooms(house: House): Violation[] {
  return eachImport(house, 'packages', (file, { specifier }) => {
    const name = packageOf(specifier);
    if (name === undefined || packages[name]?.includes(roomOf(file.path))) return undefined;
    const rooms = packages[name]?.join(', ');
    return rooms === undefined
      ? `${name} has no row in the table of packages: a dependency is a decision`
      : `${name} is for ${rooms} alone, so that it can be replaced in one room`;
  });
}

/** Rule 5: every runtime dependency is used, has a row, and has a decision that names it in backticks. */
export function dependencyReasons(
  house: House,
  dependencies: readonly string[],
  decisions: readonly string[],
): Violation[] {
  const used = new Set(
    house.sources.flatMap(({ imports }) => imports.map((one) => packageOf(one.specifier))),
  );
  const faults = (name: string): string[] => [
    ...(used.has(name) ? [] : [`${name} is imported nowhere in src/`]),
    ...(packages[name] ? [] : [`${name} has no row in the table of packages`]),
    ...(decisions.some((text) => text.includes(`\`${name}\``))
      ? []
      : [`\`${name}\` is in no file of docs/decisions/`]),
  ];
  const stale = Object.keys(packages).filter((name) => !dependencies.includes(name));
  return [
    ...dependencies.flatMap(faults),
    ...stale.map((name) => `${name} has a row in the table of packages, but is no dependency`),
  ].map((says) => ({ rule: 'dependencies', place: 'package.json', says }));
}

/** Rules 3 and 12: the environment is read in one place; randomness that decides names is never Math.random;
 *  protocol is pure, so it knows neither clock nor timer. */
export function globalsInTheirRooms(house: House): Violation[] {
  const reads = eachMark(
    house,
    'globals',
    ({ reads: all }) => all,
    (file, text) => {
      const room = roomOf(file.path);
      if (text === 'process.env' && room !== 'config.ts' && room !== 'runner') {
        return 'process.env is read only by config.ts and runner/: settings come from one schema';
      }
      if (text === 'Math.random')
        return 'Math.random may repeat over processes: take random bytes from node:crypto';
      return room === 'protocol' && ['Date.now', 'new Date', 'setTimeout', 'setInterval'].includes(text)
        ? `${text} in protocol, which is pure: pass the time in`
        : undefined;
    },
  );
  const imported = eachImport(house, 'globals', (file, { specifier, names }) =>
    specifier === 'node:process' &&
    names.includes('env') &&
    !['config.ts', 'runner'].includes(roomOf(file.path))
      ? 'process.env is read only by config.ts and runner/: settings come from one schema'
      : undefined,
  );
  return [...reads, ...imported];
}

/** Rule 6: no long file, no name that means "misc". */
export function sizesAndNames(house: House): Violation[] {
  const empty = ['util', 'utils', 'helper', 'helpers', 'common', 'lib', 'misc', 'type', 'types', 'index'];
  return [...house.sources, ...house.tests].flatMap(({ path, lines }) => {
    const limit = path.startsWith('src/') ? 300 : 500;
    const bad = path.split('/').find((part) => empty.includes(part.replace(/(\.test)?\.[cm]?ts$/, '')));
    return [
      ...(lines > limit
        ? [{ rule: 'sizes', place: path, says: `${lines} lines; it stops at ${limit}` }]
        : []),
      ...(bad === undefined
        ? []
        : [{ rule: 'names', place: path, says: `${bad} does not say what it holds` }]),
    ];
  });
}

/** Rule 7: no file reaches itself through its imports. Each cycle is told once, from the file where it was entered. */
export function importCycles(house: House): Violation[] {
  const edges = new Map(
    house.sources.map((file) => [file.path, file.imports.map((one) => targetOf(file, one))]),
  );
  const done = new Set<string>();
  const found: Violation[] = [];
  const walk = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      const cycle = [...trail.slice(start), path].join(' ▶ ');
      found.push({ rule: 'cycles', place: path, says: `${cycle}: neither can be read or tested alone` });
    }
    if (start >= 0 || done.has(path)) return;
    for (const next of edges.get(path) ?? []) if (next !== undefined) walk(next, [...trail, path]);
    done.add(path);
  };
  for (const path of edges.keys()) walk(path, []);
  return found;
}

/** Rule 8: the names of the volume's folders stand in one file. Routes, which begin with a slash, are no volume paths. */
export function volumeNames(house: House): Violation[] {
  const http = ['api', 'client', 'dashboard'];
  return eachMark(
    house,
    'volume-layout',
    ({ texts }) => texts,
    (file, text) => {
      if (file.path === 'src/protocol/volume-layout.ts') return undefined;
      const inside = http.includes(roomOf(file.path))
        ? /longshore-v1|^(blobs|work|tickets)\//
        : /longshore-v1|(^|\/)(blobs|work|tickets)\//;
      if (!inside.test(text) || text.startsWith('/v1/')) return undefined;
      return `'${text.slice(0, 60)}' is a path of the volume: only protocol/volume-layout.ts spells them`;
    },
  );
}

/** Rule 9: what lies at the top, from a list of the files under version control. */
export function topLevel(files: readonly string[]): Violation[] {
  const agreed =
    /^(src|test|docker|helm|docs|package\.json|package-lock\.json|tsconfig\.json|README\.md|LICENSE|\..+)$/;
  const entries = new Set(files.map((file) => file.split('/', 1).join('')));
  return [...entries]
    .filter((entry) => !agreed.test(entry))
    .map((place) => ({
      rule: 'top-level',
      place,
      says: 'is none of the agreed entries at the top of the project',
    }));
}

/** Rule 10: a test under the same room imports every source file; `reasons` lists the files that none can import. */
export function mirrorGaps(house: House, reasons: Readonly<Record<string, string>>): Violation[] {
  const seen = new Set(
    house.tests.flatMap((file) =>
      file.imports.flatMap((one) => {
        const target = targetOf(file, one);
        const room = target?.split('/')[1] ?? '';
        return target !== undefined && (room.endsWith('.ts') || file.path.startsWith(`test/${room}/`))
          ? [target]
          : [];
      }),
    ),
  );
  const paths = house.sources.map(({ path }) => path);
  const gap = (place: string, says: string): Violation => ({ rule: 'mirror', place, says });
  return [
    ...paths
      .filter((path) => !seen.has(path) && reasons[path] === undefined)
      .map((path) => gap(path, `no test under test/${path.split('/').slice(1, -1)[0] ?? ''} imports it`)),
    ...Object.keys(reasons)
      .filter((path) => seen.has(path) || !paths.includes(path))
      .map((path) => gap(path, 'is excused from having a test, but is gone or has one: drop the excuse')),
  ];
}

/** Rule 11: constructs that the house does without. */
export function forbiddenConstructs(house: House): Violation[] {
  return eachMark(
    house,
    'constructs',
    ({ constructs }) => constructs,
    (_, text) => `${text}: the house does without`,
  );
}
