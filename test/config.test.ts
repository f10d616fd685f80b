import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { configRows } from '../src/config-schema.ts';
import {
  addressOf,
  defaultTokensFile,
  environmentValue,
  loadConfig,
  runnerEnvironment,
} from '../src/config.ts';
import { Fault } from '../src/protocol/fault.ts';
import { temporaryFolder } from './harness/temporary-volume.ts';

const threads = { UV_THREADPOOL_SIZE: '64' };

function problemsOf(flags: readonly string[], environment: Record<string, string> = threads): string[] {
  try {
    loadConfig(flags, environment);
    return [];
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== 'CONFIG_INVALID') throw error;
    return error.detail['problems'] as string[];
  }
}

t.test('loadConfig() takes flags over the environment over the file over defaults', async (t) => {
  const file = join(temporaryFolder(t), 'longshore.json');
  writeFileSync(file, JSON.stringify({ volume: '/from/file', maxScripts: 1, maxUploads: 1, sweepMs: 1000 }));
  const environment = {
    ...threads,
    LONGSHORE_CONFIG: file,
    LONGSHORE_MAX_SCRIPTS: '2',
    LONGSHORE_MAX_UPLOADS: '2',
  };
  const config = loadConfig(['--max-scripts', '3'], environment);
  t.match(config, { volume: '/from/file', sweepMs: 1000, maxUploads: 2, maxScripts: 3, maxWaitSeconds: 60 });
  t.match(loadConfig(['--config', file, '--volume=/flag'], threads), { volume: '/flag', maxUploads: 1 });
});

t.test('loadConfig() gives whole, frozen settings with absolute paths', async (t) => {
  const config = loadConfig(['--volume', 'x', '--state', '/s'], threads);
  t.match(config, {
    volume: resolve('x'),
    state: '/s',
    tokens: '/s/tokens',
    key: '/s/key',
    threadPoolSize: 64,
  });
  t.ok(Object.isFrozen(config));
  t.equal(loadConfig(['--volume', '/v', '--key', '/k'], threads).key, '/k');
});

t.test('loadConfig() keeps its state where XDG says, else where the user is root', async (t) => {
  const { state } = loadConfig(['--volume', '/v'], { ...threads, XDG_STATE_HOME: '/xdg' });
  t.equal(state, '/xdg/longshore');
  t.match(
    loadConfig(['--volume', '/v'], threads).state,
    /^\/var\/lib\/longshore$|\/\.local\/state\/longshore$/,
  );
  t.equal(defaultTokensFile({ XDG_STATE_HOME: '/xdg' }), '/xdg/longshore/tokens');
  t.equal(defaultTokensFile({ LONGSHORE_STATE: '/s' }), '/s/tokens');
  t.equal(defaultTokensFile({ LONGSHORE_TOKENS: '/t' }), '/t');
});

t.test(
  'loadConfig() takes an empty variable for one that is not set, and foreign ones for nothing',
  async (t) => {
    const environment = { ...threads, LONGSHORE_MAX_SCRIPTS: '', LONGSHORE_PORT: 'tcp://10.0.0.1:8460' };
    t.equal(loadConfig(['--volume', '/v'], environment).maxScripts, 500);
  },
);

t.test('loadConfig() lists every broken rule at once, with source, key, rule and value', async (t) => {
  const file = join(temporaryFolder(t), 'longshore.json');
  writeFileSync(file, JSON.stringify({ maxScripts: '5', drainMs: 1.5, volumne: '/v' }));
  const environment = {
    ...threads,
    LONGSHORE_LISTEN: 'here',
    LONGSHORE_LOG_LEVEL: 'loud',
    LONGSHORE_METRICS: 'a:65536',
  };
  const problems = problemsOf(['--config', file, '--sweep-ms', '5x', '--volume-budget', '0'], environment);
  for (const problem of [
    /longshore\.json: there is no key "volumne"/,
    /^volume: .* required; set --volume or LONGSHORE_VOLUME$/,
    /^LONGSHORE_LISTEN: listen must be HOST:PORT .*, not "here"$/,
    /^LONGSHORE_METRICS: metrics must be .*, not "a:65536"$/,
    /^LONGSHORE_LOG_LEVEL: logLevel must be one of trace, .*, not "loud"$/,
    /longshore\.json: maxScripts must be an integer from 1 to 100000, not "5"$/,
    /longshore\.json: drainMs must be an integer .*, not 1\.5$/,
    /^--sweep-ms: sweepMs must be an integer .*, not "5x"$/,
    /^--volume-budget: volumeBudget must be an integer from 1 to 1016, not 0$/,
  ]) {
    t.ok(
      problems.some((text) => problem.test(text)),
      String(problem),
    );
  }
  t.equal(problems.length, 9, problems.join('\n'));
});

t.test('loadConfig() refuses flags that it does not know and files that are no configuration', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'list.json'), '[]');
  writeFileSync(join(folder, 'broken.json'), '{');
  t.match(problemsOf(['--volume', '/v', '--max-script', '5']), [/--max-script/]);
  t.match(problemsOf(['--volume', '/v', 'extra']), [/extra/]);
  t.match(problemsOf(['--volume', '/v', '--config', join(folder, 'list.json')]), [
    /must hold one JSON object/,
  ]);
  t.match(problemsOf(['--volume', '/v', '--config', join(folder, 'broken.json')]), [
    /cannot be read: .*JSON/,
  ]);
  t.match(problemsOf(['--volume', '/v', '--config', join(folder, 'missing.json')]), [
    /cannot be read: ENOENT/,
  ]);
  t.match(problemsOf(['--volume', '/v\0']), [/volume must be a path .* without NUL/]);
});

t.test('loadConfig() holds settings against each other', async (t) => {
  t.match(problemsOf(['--volume', '/v', '--volume-budget', '57']), [
    /UV_THREADPOOL_SIZE must be at least volumeBudget \+ 8 = 65, not 64/,
  ]);
  t.match(problemsOf(['--volume', '/v'], {}), [/UV_THREADPOOL_SIZE .* not 4/]);
  t.match(problemsOf(['--volume', '/v'], { UV_THREADPOOL_SIZE: 'many' }), [/UV_THREADPOOL_SIZE .* not NaN/]);
  t.match(problemsOf(['--volume', '/v', '--max-deadline-seconds', '60']), [
    /defaultDeadlineSeconds must be at most/,
  ]);
  t.match(problemsOf(['--volume', '/v', '--volume-slow-deadline-ms', '200']), [
    /volumeSlowDeadlineMs must be at least/,
  ]);
});

t.test('every key takes its bounds and refuses what is beyond them', async (t) => {
  for (const { flag, rule, says, initial, environment } of configRows()) {
    t.ok(says.length > 10 && flag.startsWith('--') && /^LONGSHORE_[A-Z_]+$/.test(environment), flag);
    const [, minimum, maximum] = /^an integer from (\d+) to (\d+)$/.exec(rule) ?? [];
    if (minimum === undefined || maximum === undefined) continue;
    // A default in words depends on where the agent runs.
    const isNumber = /^\d+$/.test(initial);
    if (isNumber) t.ok(Number(initial) >= Number(minimum) && Number(initial) <= Number(maximum), flag);
    else t.match(initial, /^[a-z]+ /, `${flag} says what it is without`);
    for (const value of [Number(minimum) - 1, Number(maximum) + 1]) {
      t.ok(
        problemsOf(['--volume', '/v', `${flag}=${value}`]).some((text) => text.startsWith(`${flag}: `)),
        `${flag} ${value}`,
      );
    }
    const broken = problemsOf(['--volume', '/v', `${flag}=${maximum}`]).filter((text) =>
      text.startsWith(`${flag}: `),
    );
    t.same(broken, []);
  }
});

t.test('addressOf() splits what the schema takes', async (t) => {
  t.same(addressOf('127.0.0.1:8460'), { host: '127.0.0.1', port: 8460 });
  t.same(addressOf('[::1]:0'), { host: '::1', port: 0 });
  fc.assert(
    fc.property(fc.ipV4(), fc.nat(65_535), (host, port) => {
      t.same(problemsOf(['--volume', '/v', '--listen', `${host}:${port}`]), []);
      return addressOf(`${host}:${port}`).port === port;
    }),
    { numRuns: 20 },
  );
});

t.test('environmentValue() reads one variable', async (t) => {
  t.equal(environmentValue('A', { A: 'x' }), 'x');
  t.equal(environmentValue('B', { A: 'x' }), undefined);
});

t.test('runnerEnvironment() keeps what is addressed to the agent from its scripts', async (t) => {
  t.same(runnerEnvironment({ PATH: '/bin', LONGSHORE_TOKENS: '/t', UV_THREADPOOL_SIZE: '64' }), {
    PATH: '/bin',
    UV_THREADPOOL_SIZE: '64',
  });
});
