/** Runs the compiled tests, says what failed, and ends with the line `N passed, N failed[, N skipped]`.
 *
 *  A test file is a plain Node process that prints TAP. It is started here and not by the tap command line, which
 *  (1) drops the results of other files when one of them times out, and (2) patches child_process in every test, so
 *  that NODE_OPTIONS and its own variables reach the daemons and scripts that our tests start.
 *  What counts is a call of test() in a file. A file that crashes, hangs or holds no test is a failure of its own, and
 *  a skipped test makes the run red: a test that did not run has shown nothing. */
import { spawn } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { resolve } from 'node:path';
import { Parser } from 'tap-parser';
import { TestLog } from './test-log.ts';

/** Suites that share a machine of their own want one at a time. */
const jobs = Number(process.env['LONGSHORE_TEST_JOBS'] ?? 2);
/** tap names the test that hangs; the whole file is ended only when that has not happened. */
const testTimeoutSeconds = Number(process.env['LONGSHORE_TEST_TIMEOUT_SECONDS'] ?? 280);
const fileTimeoutMs = (testTimeoutSeconds + 20) * 1000;
/** These need a cluster, a mount or a quiet machine; name one to run it. */
const onRequest = ['test/cluster', 'test/nfs', 'test/bench'];
const stderrTailBytes = 32_768;
const quickExit = resolve('.build/test/gate/quick-exit.js');

interface Ending {
  readonly file: string;
  readonly log: TestLog;
  readonly says: string | undefined;
  readonly stderr: string;
  readonly seconds: string;
}

function filesFor(wanted: readonly string[]): string[] {
  const within = (file: string, place: string) => file === place || file.startsWith(`${place}/`);
  const places = wanted.map((place) => place.replace(/^\.\//, '').replace(/\/$/, ''));
  const all = globSync('test/**/*.test.ts').sort();
  if (places.length === 0) return all.filter((file) => !onRequest.some((place) => within(file, place)));
  const nothing = places.filter((place) => !all.some((file) => within(file, place)));
  if (nothing.length > 0) throw new RangeError(`no test file matches ${nothing.join(', ')}`);
  return all.filter((file) => places.some((place) => within(file, place)));
}

/** Ends the process group of a test file: what a test leaves behind must not reach the next one. */
function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

const running = new Set<number>();

function run(file: string): Promise<Ending> {
  const compiled = file.replace(/^test\/(.*)\.ts$/, '.build/test/$1.js');
  if (!existsSync(compiled)) throw new RangeError(`${file} is not compiled: npm run build`);
  const log = new TestLog();
  const startedAt = performance.now();
  const child = spawn(process.execPath, ['--enable-source-maps', '--import', quickExit, compiled], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TAP_TIMEOUT: String(testTimeoutSeconds) },
  });
  const pid = child.pid;
  if (pid !== undefined) running.add(pid);
  let stderr = '';
  let timedOut = false;
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-stderrTailBytes);
  });
  const parser = new Parser();
  log.listen(parser);
  child.stdout.pipe(parser);
  const timer = setTimeout(() => {
    timedOut = true;
    endGroup(pid);
  }, fileTimeoutMs);
  child.on('exit', () => {
    endGroup(pid);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (pid !== undefined) running.delete(pid);
      const how = timedOut
        ? `no end after ${fileTimeoutMs / 1000} s`
        : (signal ?? `exit code ${String(code)}`);
      const says = log.ending(code === 0 && signal === null ? undefined : how);
      resolve({ file, log, says, stderr, seconds: ((performance.now() - startedAt) / 1000).toFixed(1) });
    });
  });
}

function show({ file, log, says, stderr, seconds }: Ending): void {
  const bad = log.failed > 0 || log.skipped > 0;
  const skips = log.skipped > 0 ? `, ${log.skipped} skipped` : '';
  console.log(
    `${bad ? 'FAIL' : 'ok  '} ${file}  ${log.passed} passed, ${log.failed} failed${skips}  ${seconds} s`,
  );
  for (const line of log.lines) console.log(`     ${line}`);
  if (says !== undefined) console.log(`     ✗ the file: ${says}`);
  if (bad && stderr.trim() !== '') console.log(stderr.trimEnd().replace(/^/gm, '     | '));
}

async function main(): Promise<number> {
  const total = { passed: 0, failed: 0, skipped: 0 };
  try {
    const queue = filesFor(process.argv.slice(2));
    const worker = async () => {
      for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
        const ending = await run(file);
        show(ending);
        total.passed += ending.log.passed;
        total.failed += ending.log.failed;
        total.skipped += ending.log.skipped;
      }
    };
    await Promise.all(Array.from({ length: jobs }, worker));
  } catch (error) {
    console.log(`FAIL ${String(error)}`);
    total.failed += 1;
    running.forEach(endGroup);
  }
  const skips = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
  console.log(`\n${total.passed} passed, ${total.failed} failed${skips}`);
  return total.failed === 0 && total.skipped === 0 && total.passed > 0 ? 0 : 1;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    running.forEach(endGroup);
    process.exit(1);
  });
}
process.exitCode = await main();
