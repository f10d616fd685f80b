/** The guard of the house (docs/design.md, "The house"): every rule runs on the real tree, and every rule is shown to go
 *  red on a planted violation, since a guard that cannot fail guards nothing. */
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'tap';
import type { House, Violation } from './gate/house-rules.ts';
import * as rules from './gate/house-rules.ts';

const read = (path: string) => readFileSync(path, 'utf8');
const house = rules.houseOf(new Map(globSync('{src,test}/**/*.ts').map((path) => [path, read(path)])));
const manifest = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };

/** Files that no test can import, and what shows them instead. */
const withoutMirror = {
  'src/cli.ts': 'a program: it acts when it is imported; test/e2e runs it as a process',
  'src/runner/main.ts': 'a program: it acts when it is imported; test/runner runs its bundle as a process',
  'src/doctor/trial-main.ts':
    'a program: it acts when it is imported; test/doctor runs its bundle as a process',
  'src/mount/probe-main.ts':
    'a program: it acts when it is imported; test/mount runs its bundle as a process',
};

const onTheTree: Record<string, () => Violation[]> = {
  'importArrows() finds every room importing only what its arrows allow': () => rules.importArrows(house),
  'builtinRooms() finds fs, child_process and path only in their rooms': () => rules.builtinRooms(house),
  'packageRooms() finds every package only in the rooms of its row': () => rules.packageRooms(house),
  'dependencyReasons() finds every runtime dependency used and explained in docs/decisions/': () =>
    rules.dependencyReasons(
      house,
      Object.keys(manifest.dependencies),
      globSync('docs/decisions/*.md').map(read),
    ),
  'globalsInTheirRooms() finds the environment, randomness and clocks in their rooms': () =>
    rules.globalsInTheirRooms(house),
  'sizesAndNames() finds no file over its limit and no name that means nothing': () =>
    rules.sizesAndNames(house),
  'importCycles() finds none': () => rules.importCycles(house),
  'volumeNames() finds the names of the volume only in volume-layout.ts': () => rules.volumeNames(house),
  'topLevel() finds only the agreed entries': () =>
    rules.topLevel(execFileSync('git', ['ls-files'], { encoding: 'utf8' }).trim().split('\n')),
  'mirrorGaps() finds a test of its room for every source': () => rules.mirrorGaps(house, withoutMirror),
  'forbiddenConstructs() finds no default export, enum, namespace, any or silenced lint rule': () =>
    rules.forbiddenConstructs(house),
};

for (const [title, violations] of Object.entries(onTheTree)) {
  test(title, async (t) => {
    t.same(violations().map(said), []);
  });
}

test('the tests run on the Node that package.json pins', async (t) => {
  const { devDependencies } = JSON.parse(read('package.json')) as { devDependencies: { node: string } };
  t.equal(process.version, `v${devDependencies.node}`);
});

function said({ rule, place, says }: Violation): string {
  return `${rule}: ${place} ${says}`;
}

function planted(files: Record<string, string>, rule: (house: House) => Violation[]): string[] {
  return rule(rules.houseOf(new Map(Object.entries(files)))).map(said);
}

/** Asserts that one file with `text` breaks `rule` exactly once, and that the message matches. */
type Case = readonly [path: string, text: string, message: RegExp];
function goesRed(title: string, rule: (house: House) => Violation[], cases: readonly Case[]): void {
  test(title, async (t) => {
    for (const [path, text, message] of cases) {
      const found = planted({ [path]: text }, rule);
      t.equal(found.length, 1, `${path}: ${text.slice(0, 60)}`);
      t.match(found[0], message);
    }
  });
}

function staysGreen(title: string, rule: (house: House) => Violation[], files: Record<string, string>): void {
  test(title, async (t) => {
    t.same(planted(files, rule), []);
  });
}

goesRed('importArrows() refuses every way to import against an arrow', rules.importArrows, [
  [
    'src/protocol/a.ts',
    `import { x } from '../staging/b.ts';`,
    /arrows: src\/protocol\/a.ts:1 protocol imports .*nothing/,
  ],
  ['src/protocol/a.ts', `import type { Config } from '../config.ts';`, /protocol imports src\/config.ts/],
  [
    'src/api/a.ts',
    `\nimport type { E } from '../executors/executor.ts';`,
    /arrows: src\/api\/a.ts:2 api imports/,
  ],
  [
    'src/scripts/a.ts',
    `export { x } from '../executors/local/b.ts';`,
    /scripts imports src\/executors\/local/,
  ],
  ['src/executors/local/a.ts', `await import('../kubernetes/b.ts');`, /executors\/local imports/],
  [
    'src/executors/local/a.ts',
    `import { g } from '../../mount/gate.ts';`,
    /executors\/local imports src\/mount/,
  ],
  ['src/mount/a.ts', `type X = import('../staging/b.ts').X;`, /mount imports src\/staging/],
  ['src/serve.ts', `import { main } from './cli.ts';`, /serve.ts imports src\/cli.ts/],
  ['src/mount/a.ts', `import { Config } from '../config.ts';`, /mount imports src\/config.ts/],
  ['src/mount/a.ts', `import type { Config, load } from '../config.ts';`, /mount imports src\/config.ts/],
  ['src/runner/a.ts', `import { x } from '../../test/b.ts';`, /runner imports test\/b.ts/],
  ['src/attic/a.ts', `export const x = 1;`, /arrows: src\/attic\/a.ts attic is no room of the house/],
]);
staysGreen(
  'importArrows() allows the own room, protocol, the arrows and the type Config',
  rules.importArrows,
  {
    'src/api/a.ts': `import { x } from './b.ts'; import { y } from '../mount/c.ts'; import { z } from '../protocol/d.ts';`,
    'src/mount/a.ts': `import type { Config } from '../config.ts'; import { type Config as C } from '../config.ts';`,
    'src/scripts/a.ts': `import type { Executor } from '../executors/executor.ts';`,
    'src/cli.ts': `const { serve } = await import('./serve.ts');`,
    'src/executors/executor.ts': `import { t } from '../protocol/t.ts';`,
  },
);

goesRed('builtinRooms() refuses a builtin outside its rooms', rules.builtinRooms, [
  [
    'src/staging/a.ts',
    `import { open } from 'node:fs/promises';`,
    /builtins: src\/staging\/a.ts:1 node:fs.*gate/,
  ],
  ['src/client/b.ts', `import fs from 'node:fs';`, /node:fs is not for this file/],
  ['src/mount/a.ts', `import fs from 'fs';`, /write node:fs/],
  ['src/mount/gate.ts', `import { spawn } from 'node:child_process';`, /child_process.*freezes/],
  ['src/scripts/a.ts', `import { join } from 'node:path';`, /joined only in protocol/],
  ['src/protocol/a.ts', `import { join } from 'node:path';`, /may only import node:crypto and node:buffer/],
]);
staysGreen('builtinRooms() allows the rooms of the table', rules.builtinRooms, {
  'src/mount/probe-child.ts': `import { spawn } from 'node:child_process'; import fs from 'node:fs';`,
  'src/client/local-file.ts': `import { open } from 'node:fs/promises';`,
  'src/protocol/a.ts': `import { createHash } from 'node:crypto'; import type { Buffer } from 'node:buffer';`,
});

goesRed('packageRooms() refuses a package outside its rooms', rules.packageRooms, [
  [
    'src/scripts/a.ts',
    `import fastify from 'fastify';`,
    /packages: src\/scripts\/a.ts:1 fastify is for api alone/,
  ],
  [
    'src/protocol/a.ts',
    `import { Value } from 'typebox/value';`,
    /typebox is for api, config.ts, config-schema.ts alone/,
  ],
  ['src/api/a.ts', `import got from 'got';`, /got has no row/],
]);
test('dependencyReasons() refuses a dependency that is unused, unexplained or gone', async (t) => {
  const used = rules.houseOf(new Map([['src/api/a.ts', `import fastify from 'fastify';`]]));
  const found = rules.dependencyReasons(used, ['fastify', 'pino', 'got'], ['We use `pino`.']).map(said);
  t.ok(found.includes('dependencies: package.json `fastify` is in no file of docs/decisions/'));
  t.ok(found.includes('dependencies: package.json pino is imported nowhere in src/'));
  t.ok(found.includes('dependencies: package.json got has no row in the table of packages'));
  t.ok(
    found.includes(
      'dependencies: package.json chokidar has a row in the table of packages, but is no dependency',
    ),
  );
});

goesRed(
  'globalsInTheirRooms() refuses the environment, Math.random and clocks out of place',
  rules.globalsInTheirRooms,
  [
    ['src/api/a.ts', `const x = process.env['X'];`, /globals: src\/api\/a.ts:1 process.env is read only by/],
    ['src/api/a.ts', `const x = process['env'];`, /process.env/],
    ['src/serve.ts', `const { env } = process;`, /process.env/],
    ['src/mount/a.ts', `import { env } from 'node:process';`, /process.env/],
    ['src/runner/a.ts', `Math.random();`, /Math.random may repeat/],
    ['src/protocol/a.ts', `const at = Date.now();`, /Date.now in protocol/],
    ['src/protocol/a.ts', `const at = new Date();`, /new Date in protocol/],
  ],
);
staysGreen(
  'globalsInTheirRooms() lets config.ts and the runner read the environment',
  rules.globalsInTheirRooms,
  {
    'src/config.ts': `export const x = process.env['X'];`,
    'src/runner/main.ts': `const { env } = process; setTimeout(run, 5);`,
    'src/protocol/a.ts': `export const at = (ms: number) => new Date(ms).toISOString();`,
  },
);

goesRed('sizesAndNames() refuses a long file and an empty name', rules.sizesAndNames, [
  ['src/mount/gate.ts', 'x;\n'.repeat(301), /sizes: src\/mount\/gate.ts 301 lines; it stops at 300/],
  ['test/mount/gate.test.ts', 'x;\n'.repeat(501), /501 lines; it stops at 500/],
  ['src/mount/utils.ts', '', /names: src\/mount\/utils.ts utils.ts does not say/],
  ['src/mount/lib/gate.ts', '', /names: .* lib does not say/],
  ['test/index.test.ts', '', /index.test.ts does not say/],
]);
staysGreen('sizesAndNames() takes a file of exactly the limit', rules.sizesAndNames, {
  'src/mount/gate.ts': 'x;\n'.repeat(300),
});

test('importCycles() tells the whole cycle once', async (t) => {
  const files = {
    'src/mount/a.ts': `import { b } from './b.ts';`,
    'src/mount/b.ts': `import type { C } from './c.ts';`,
    'src/mount/c.ts': `import './a.ts'; import '../protocol/d.ts';`,
    'src/protocol/d.ts': '',
  };
  const [cycle, ...others] = planted(files, rules.importCycles);
  t.match(
    cycle,
    /cycles: src\/mount\/a.ts src\/mount\/a.ts ▶ src\/mount\/b.ts ▶ src\/mount\/c.ts ▶ src\/mount\/a.ts/,
  );
  t.same(others, []);
});

goesRed('volumeNames() refuses a path of the volume outside volume-layout.ts', rules.volumeNames, [
  ['src/mount/a.ts', `const root = 'longshore-v1';`, /volume-layout: src\/mount\/a.ts:1 'longshore-v1'/],
  ['src/staging/a.ts', '`${root}/tickets/${ticket}`', /'\/tickets\/' is a path of the volume/],
  ['src/api/a.ts', `open('tickets/t1');`, /'tickets\/t1'/],
]);
staysGreen('volumeNames() takes routes, imports and the layout itself', rules.volumeNames, {
  'src/api/a.ts': `app.put('/v1/blobs/sha256/:hex'); app.get('/blobs/:hex');`,
  'src/protocol/volume-layout.ts': `export const root = 'longshore-v1/blobs/';`,
  'src/scripts/a.ts': `import { w } from './tickets/b.ts'; const title = 'work on tickets';`,
});

test('topLevel() refuses an entry that was not agreed', async (t) => {
  const found = rules
    .topLevel(['src/a.ts', '.ci/run', 'README.md', 'scripts/x.sh', 'jest.config.js'])
    .map(said);
  t.same(
    found.map((line) => line.split(' ')[1]),
    ['scripts', 'jest.config.js'],
  );
});

test('mirrorGaps() refuses a source without a test in its room, and a stale excuse', async (t) => {
  const files = {
    'src/mount/gate.ts': '',
    'src/mount/epoch.ts': '',
    'src/executors/local/start.ts': '',
    'test/mount/gate.test.ts': `import { gate } from '../../src/mount/gate.ts';`,
    'test/staging/epoch.test.ts': `import { epoch } from '../../src/mount/epoch.ts';`,
    'test/executors/start.test.ts': `import { start } from '../../src/executors/local/start.ts';`,
  };
  const found = planted(files, (planned) => rules.mirrorGaps(planned, { 'src/mount/gate.ts': 'why' }));
  t.equal(found.length, 2);
  t.match(found[0], /mirror: src\/mount\/epoch.ts no test under test\/mount imports it/);
  t.match(found[1], /mirror: src\/mount\/gate.ts is excused/);
});

goesRed('forbiddenConstructs() refuses each of them', rules.forbiddenConstructs, [
  ['src/api/a.ts', `export default function run() {}`, /constructs: src\/api\/a.ts:1 default export/],
  ['src/api/a.ts', `const a = 1; export { a as default };`, /default export/],
  ['src/api/a.ts', `const enum Color { Red }`, /enum/],
  ['src/api/a.ts', `namespace Inner { export const a = 1 }`, /namespace/],
  ['src/api/a.ts', `const a = b as any;`, /any/],
  ['src/api/a.ts', `// eslint-disable-next-line no-console`, /lint switched off/],
]);
staysGreen(
  'forbiddenConstructs() takes augmentation and a lint rule silenced with its reason',
  rules.forbiddenConstructs,
  {
    'src/api/a.ts': `declare module 'fastify' { interface Request { id: 1 } }\n// eslint-disable-line no-console -- the only output`,
  },
);
