/** The commands of the guides and of the README run as they are printed, and say what is printed below them. */
import { globSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'tap';
import { loadConfig } from '../src/config.ts';
import { blocksOf, freePort, pathWithLongshore, shell } from './harness/guide-page.ts';
import { temporaryFolder } from './harness/temporary-volume.ts';

/** Commands, and the lines that the page shows below them; `…` in a line stands for anything. */
interface Step {
  readonly commands: string;
  readonly shows: readonly string[];
}

/** Reads the blocks of a page: ```sh is run, ```text is what the block before it prints; ```bash needs a cluster or root. */
function stepsOf(page: string): Step[] {
  const steps: Step[] = [];
  for (const { language, body } of blocksOf(page)) {
    if (language === 'sh') steps.push({ commands: body, shows: [] });
    const last = steps.at(-1);
    if (language === 'text' && last) steps[steps.length - 1] = { ...last, shows: body.trimEnd().split('\n') };
  }
  return steps;
}

/** The lines of `shows` that `output` does not have, in their order, whatever stands between them. */
function missingIn(output: string, shows: readonly string[]): string[] {
  const lines = output.split('\n');
  let at = 0;
  return shows.filter((shown) => {
    const found = lines.findIndex((line, index) => index >= at && isShown(line, shown));
    if (found >= 0) at = found + 1;
    return found < 0;
  });
}

function isShown(line: string, shown: string): boolean {
  const [head = '', ...rest] = shown.split('…');
  const tail = rest.pop();
  if (tail === undefined) return line === head;
  let at = line.startsWith(head) ? head.length : -1;
  for (const part of rest) {
    const found = at < 0 ? -1 : line.indexOf(part, at);
    at = found < 0 ? -1 : found + part.length;
  }
  return at >= 0 && line.length - tail.length >= at && line.endsWith(tail);
}

for (const page of globSync('docs/guides/*.md')) {
  test(`${page} runs as it is written, and its commands say what it shows`, async (t) => {
    const folder = temporaryFolder(t, 'longshore-guide');
    const steps = stepsOf(page);
    const mark = (index: number): string => `== step ${index} ==`;
    const commands = steps.map(({ commands: text }, index) => `echo '${mark(index)}'\n${text}`).join('');
    const { code, output } = await shell(t, commands, {
      cwd: folder,
      env: {
        PATH: pathWithLongshore(join(folder, 'bin')),
        PORT: await freePort(),
        METRICS_PORT: await freePort(),
      },
    });
    t.equal(code, 0, 'every command succeeds', { output });
    for (const [index, { commands: text, shows }] of steps.entries()) {
      const printed = output.split(`${mark(index)}\n`)[1]?.split(`${mark(index + 1)}\n`)[0] ?? '';
      t.same(missingIn(printed, shows), [], `step ${index} says what the page shows`, { text, printed });
    }
  });
}

test('the settings that docs/guides/kubernetes.md shows are settings of an agent', async (t) => {
  const [shown] = blocksOf('docs/guides/kubernetes.md').filter(({ language }) => language === 'json');
  const file = join(temporaryFolder(t, 'longshore-guide'), 'longshore.json');
  writeFileSync(file, String(shown?.body));
  const flags = ['--config', file, '--volume', '/volume', '--executor', 'kubernetes', '--claim', 'longshore'];
  const { podDefaults, podPolicy } = loadConfig(flags, { UV_THREADPOOL_SIZE: '64' });
  t.same({ podDefaults, podPolicy }, JSON.parse(String(shown?.body)));
});

test('the start of README.md runs as it is written, but for its folder and the build', async (t) => {
  const folder = temporaryFolder(t, 'longshore-readme');
  const [, serve, run] = stepsOf('README.md').map(({ commands }) =>
    commands
      .replaceAll('npm run --silent longshore --', 'longshore')
      .replaceAll('/tmp/longshore', join(folder, 'volume')),
  );
  const [port, metricsPort] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  // The start is for one terminal and the rest for another; here they share a shell, and the places of a test.
  const commands = [
    String(serve).replace(/\n$/, ' &'),
    `curl -fsS --retry 60 --retry-delay 1 --retry-all-errors ${url}/readyz`,
    String(run),
    'kill %1; wait',
  ].join('\n');
  const { output } = await shell(t, commands, {
    cwd: resolve('.'),
    env: {
      PATH: pathWithLongshore(join(folder, 'bin')),
      XDG_STATE_HOME: folder,
      LONGSHORE_LISTEN: `127.0.0.1:${port}`,
      LONGSHORE_METRICS: `127.0.0.1:${metricsPort}`,
      LONGSHORE_URL: url,
    },
    flags: [],
  });
  t.match(output, /readme 1\.0\.0: pushed/);
  t.match(output, /^# Longshore$/m, 'the script read the package');
  t.match(output, /SCRIPT_FAILED/);
  t.match(output, /^exit code 3$/m);
});
