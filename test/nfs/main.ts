/** `npm run test:nfs [-- --short] [--only TEXT] [SUITE...]`: makes the guest, runs the suites, prints what they have measured.
 *
 *  TEXT is a part of the name of a scenario, such as `empty` or `ganesha`. Each scenario boots a guest of its own. The last line has the counts of the tests. */
import { spawn } from 'node:child_process';
import { globSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { buildGuest } from './guest-image.ts';
import { places } from './places.ts';
import { missing } from './prerequisites.ts';
import { buildProjectDisks } from './project-disks.ts';
import { printTable } from './scenario-rows.ts';

const startedAt = performance.now();
const say = (line: string): void =>
  console.log(`${((performance.now() - startedAt) / 1000).toFixed(1)} s  ${line}`);

/** Runs the suites one after the other, since two guests are more than a machine has processors for.
 *  Returns their counts, which the caller prints last. */
async function runSuites(
  suites: readonly string[],
  choice: Readonly<Record<string, string>>,
): Promise<{ green: boolean; counts: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'longshore-nfs-'));
  const env = {
    LONGSHORE_TEST_TIMEOUT_SECONDS: '14400',
    LONGSHORE_TEST_JOBS: '1',
    ...choice,
    ...process.env,
    // What a suite leaves there that is killed goes with the run.
    TMPDIR: folder,
  };
  const child = spawn(process.execPath, ['.build/test/gate/run-tests.js', ...suites], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  let counts = '0 passed, 1 failed';
  createInterface(child.stdout).on('line', (line) => {
    if (/^\d+ passed, \d+ failed/.test(line)) counts = line;
    else console.log(line);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject).on('close', resolve);
  });
  rmSync(folder, { recursive: true, force: true });
  return { green: code === 0, counts };
}

async function main(): Promise<boolean> {
  let counts = '0 passed, 1 failed';
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { short: { type: 'boolean', default: false }, only: { type: 'string', default: '' } },
    });
    const lacks = missing();
    if (lacks !== undefined) throw new Error(lacks);
    mkdirSync(places.root, { recursive: true });
    await buildGuest(say);
    await buildProjectDisks();
    say('the disks of the guest are made');
    rmSync(places.rows, { force: true });
    const suites = positionals.length > 0 ? positionals : globSync('test/nfs/suites/*.test.ts').sort();
    const choice = { LONGSHORE_NFS_SHORT: values.short ? '1' : '', LONGSHORE_NFS_ONLY: values.only };
    const ran = await runSuites(suites, choice);
    counts = ran.counts;
    printTable();
    return ran.green;
  } catch (error) {
    console.log(`FAIL ${error instanceof Error ? error.message : String(error)}`);
    return false;
  } finally {
    console.log(`\n${counts}`);
  }
}

process.exitCode = (await main()) ? 0 : 1;
