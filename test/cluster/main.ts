/** `npm run test:cluster [-- SUITE...]`: brings the cluster up, runs the suites on it, and takes it down.
 *
 *  `up` and `down` instead of suites do only that. With LONGSHORE_CLUSTER_KEEP=1 the cluster stays, and the next run finds it.
 *  The suites run one after the other, because some of them break the cluster. Each prints its counts. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { globSync } from 'node:fs';
import { bringUp, takeDown } from './cluster.ts';
import { provideProjectImages } from './project-images.ts';

const startedAt = performance.now();
const say = (line: string): void =>
  console.log(`${((performance.now() - startedAt) / 1000).toFixed(1)} s  ${line}`);

let suite: ChildProcess | undefined;
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    // The cluster is still to be taken down; a second signal does not change that.
    interrupted = true;
    suite?.kill(signal);
  });

async function runSuite(file: string): Promise<boolean> {
  // Some outages last for minutes before a cluster believes in them.
  const env = { LONGSHORE_TEST_TIMEOUT_SECONDS: '1200', ...process.env };
  const child = spawn(process.execPath, ['.build/test/gate/run-tests.js', file], { stdio: 'inherit', env });
  suite = child;
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject).on('close', resolve);
  });
  return code === 0;
}

async function runSuites(files: readonly string[]): Promise<boolean> {
  let green = files.length > 0;
  if (!green) console.log('\n0 passed, 1 failed');
  for (const file of files) if (!interrupted) green = (await runSuite(file)) && green;
  return green && !interrupted;
}

async function main(wanted: readonly string[]): Promise<boolean> {
  if (wanted[0] === 'down') {
    await takeDown();
    return true;
  }
  const keep = wanted[0] === 'up' || process.env['LONGSHORE_CLUSTER_KEEP'] === '1';
  try {
    const { kubeconfig } = await bringUp(say);
    say(`the cluster is up: export KUBECONFIG=${kubeconfig}`);
    await provideProjectImages();
    say('the images of docker/ are in both nodes');
    if (wanted[0] === 'up') return true;
    return await runSuites(wanted.length > 0 ? wanted : globSync('test/cluster/suites/*.test.ts').sort());
  } catch (error) {
    console.log(`FAIL ${error instanceof Error ? error.message : String(error)}`);
    console.log('\n0 passed, 1 failed');
    return false;
  } finally {
    if (!keep) await takeDown();
  }
}

process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
