/** kill -9 between every two steps of staging (invariants 1 and 2, crash rule). */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { test } from 'tap';
import type { Volume } from '../../src/mount/volume.ts';
import { sha256Of } from '../../src/protocol/digest.ts';
import { parseManifest } from '../../src/protocol/manifest.ts';
import { sweepStaging } from '../../src/staging/retention.ts';
import { publishWorkspace, stageWorkspace } from '../../src/staging/workspace.ts';
import { childProgram } from '../harness/child-program.ts';
import { storesOn } from '../harness/stores.ts';
import { temporaryFolder, volumeAt } from '../harness/temporary-volume.ts';
import { FILES, KEY, PACKAGE, packageBytes, SCRIPT } from './staged-fixture.ts';

const HOUR_MS = 60 * 60 * 1000;
const CHILDREN_AT_ONCE = 3;

/** Runs the program until its n-th step; false when it came to its end before. */
async function killedAt(folder: string, step: number): Promise<boolean> {
  const program = [childProgram(import.meta.url, 'killed-stager'), folder, String(step)];
  return new Promise((resolve, reject) => {
    const child = execFile(process.execPath, program, (error, stdout, stderr) => {
      if (error?.signal === 'SIGKILL') resolve(true);
      else if (error === null && stdout === 'published\n') resolve(false);
      else reject(new Error(`${String(child.exitCode)} ${stderr}`));
    });
  });
}

/** Says what a reader of the volume sees that is not whole. */
function halfDone(volume: Volume): string[] {
  const { layout } = volume;
  const found: string[] = [];
  for (const path of readdirSync(layout.blobs, { recursive: true, withFileTypes: true })) {
    if (path.isFile() && sha256Of(readFileSync(`${path.parentPath}/${path.name}`)) !== path.name)
      found.push(path.name);
  }
  const workspace = layout.workspace(KEY);
  if (existsSync(workspace.root)) {
    const manifest = parseManifest(readFileSync(workspace.manifest));
    if (manifest?.entries.length !== FILES.length + 2) found.push('manifest');
    for (const { path, sha256 } of manifest?.entries ?? []) {
      if (sha256Of(readFileSync(workspace.entry(path))) !== sha256) found.push(path);
    }
  }
  return found;
}

/** Does again what was killed, as the server does when it got no answer. */
async function again(volume: Volume): Promise<void> {
  const stores = storesOn(volume);
  const source = Readable.from([packageBytes()], { objectMode: false });
  await stores.packages.push(PACKAGE.id, PACKAGE.version, { source, extension: '.zip' });
  if (existsSync(volume.layout.workspace(KEY).manifest)) return;
  const plan = { key: KEY, script: SCRIPT, files: FILES, packages: [PACKAGE] };
  await publishWorkspace(volume, (await stageWorkspace(volume, stores, plan)).staging, KEY);
}

async function leftAfterSweep(volume: Volume): Promise<string[]> {
  const rules = {
    leftoverAgeMs: HOUR_MS,
    unusedAgeMs: 999 * HOUR_MS,
    maxRemovals: 1000,
    isNeeded: () => false,
  };
  await sweepStaging(volume, rules, new Date(Date.now() + 2 * HOUR_MS));
  const { layout } = volume;
  const folders = [layout.uploads, layout.work, layout.packageFolder(PACKAGE.id)];
  return folders.flatMap((folder) => readdirSync(folder)).sort();
}

test('invariant 1: killed at any step, a reader sees whole or nothing, and doing it again succeeds', async (t) => {
  let [step, ended] = [0, false];
  const worker = async (): Promise<void> => {
    while (!ended) {
      const at = (step += 1);
      const folder = temporaryFolder(t);
      const volume = volumeAt(folder);
      for (const place of volume.layout.folders) await volume.makeFolder(place);
      if (!(await killedAt(folder, at))) ended = true;
      const half = halfDone(volume);
      await again(volume);
      const wrong = [...half, ...halfDone(volume)];
      const pointer = await storesOn(volume).packages.find(PACKAGE.id, PACKAGE.version);
      const left = await leftAfterSweep(volume);
      if (wrong.length > 0 || pointer?.digest !== sha256Of(packageBytes()) || left.join() !== `1.0,${KEY}`) {
        t.fail(`killed at step ${at}`, { wrong, pointer, left });
      }
    }
  };
  await Promise.all(Array.from({ length: CHILDREN_AT_ONCE }, worker));
  t.ok(step > 50, `${step} steps`);
});
