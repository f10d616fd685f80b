/** `npm run test:cluster [-- SUITE...]`: brings the cluster up, runs the suites on it, and takes it down.
 *
 *  `up` and `down` instead of suites do only that. With LONGSHORE_CLUSTER_KEEP=1 the cluster stays, and the next run finds it.
 *  Suites that break the cluster run one after the other, behind the others. Each prints its counts. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { bringUp, takeDown } from './cluster.ts';
import { provideProjectImages } from './project-images.ts';

const startedAt = performance.now();
const say = (line: string): void =>
  console.log(`${((performance.now() - startedAt) / 1000).toFixed(1)} s  ${line}`);

/** Suites that only look at pods of their own; most of their time is waiting. */
const atOnce = 3;
const suites = new Set<ChildProcess>();
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    // The cluster is still to be taken down; a second signal does not change that.
    interrupted = true;
    for (const suite of suites) suite.kill(signal);
  });

async function runSuite(file: string): Promise<boolean> {
  // Some outages last for minutes before a cluster believes in them.
  const env = { LONGSHORE_TEST_TIMEOUT_SECONDS: '1200', ...process.env };
  const child = spawn(process.execPath, ['.build/test/gate/run-tests.js', file], { stdio: 'inherit', env });
  suites.add(child);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject).on('close', resolve);
  });
  suites.delete(child);
  return code === 0;
}

async function runSuites(files: readonly string[]): Promise<boolean> {
  let green = files.length > 0;
  if (!green) console.log('\n0 passed, 1 failed');
  const [breaking, peaceful] = [files.filter(breaksCluster), files.filter((file) => !breaksCluster(file))];
  const runAll = async (queue: string[]): Promise<void> => {
    for (let file = queue.shift(); file !== undefined && !interrupted; file = queue.shift())
      green = (await runSuite(file)) && green;
  };
  await Promise.all(Array.from({ length: atOnce }, () => runAll(peaceful)));
  await runAll(breaking);
  return green && !interrupted;
}

/** Others would be broken with it, so that it runs alone. */
function breaksCluster(file: string): boolean {
  return readFileSync(file, 'utf8').includes('outage');
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
