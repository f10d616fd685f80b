import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureLayout } from '../../src/mount/epoch.ts';
import { parseRelativePath } from '../../src/protocol/relative-path.ts';
import { parseScriptKey } from '../../src/protocol/ticket.ts';
import { BlobStore } from '../../src/staging/blob-store.ts';
import { PackageStore } from '../../src/staging/package-store.ts';
import { publishWorkspace, stageWorkspace, type PlannedFile } from '../../src/staging/workspace.ts';
import { volumeAt } from '../harness/temporary-volume.ts';
import { median, type BenchResult } from './bench-result.ts';

const FILES = Number(process.env['LONGSHORE_BENCH_FILES'] ?? 10_000);
const ROUNDS = Number(process.env['LONGSHORE_BENCH_ROUNDS'] ?? 7);
const GOAL = 1.2;
const MIB = 1024 * 1024;

async function seconds(work: () => unknown): Promise<number> {
  const from = performance.now();
  await work();
  return (performance.now() - from) / 1000;
}

function plannedFiles(): PlannedFile[] {
  return Array.from({ length: FILES }, (_, index) => {
    const path = parseRelativePath(`f${index}`);
    if (path === undefined) throw new TypeError('no path');
    return { path, content: Buffer.alloc(1024, index % 251) };
  });
}

/** Makes the archive of the same files for the rival. */
function archive(folder: string, files: readonly PlannedFile[]): string {
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  for (const file of files) if ('content' in file) writeFileSync(join(tree, file.path), file.content);
  execFileSync('tar', ['cf', join(folder, 'files.tar'), '-C', tree, '.']);
  return join(folder, 'files.tar');
}

/** One workspace of many small files, whole and durable, against the fastest thing that a person would type. */
export async function run(): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), 'longshore-bench-'));
  try {
    const files = plannedFiles();
    const tar = archive(folder, files);
    mkdirSync(join(folder, 'volume'));
    const volume = volumeAt(join(folder, 'volume'));
    await ensureLayout(volume);
    const blobs = new BlobStore(volume, {
      ...{ maxBytes: MIB, memoryBytes: MIB, minBytesPerSecond: 1, rateWindowMs: 1000 },
      ...{ reserveBytes: 0, maxUploads: 1, unknownLengthBytes: 0 },
    });
    const stores = { blobs, packages: new PackageStore(volume, blobs) };
    const rival: number[] = [];
    const ours: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const target = join(folder, `tar-${round}`);
      mkdirSync(target);
      execFileSync('sync');
      rival.push(
        await seconds(() => {
          execFileSync('tar', ['xf', tar, '-C', target]);
          execFileSync('sync');
        }),
      );
      const key = parseScriptKey(`bench-${String(round).padStart(24, '0')}`);
      if (key === undefined) throw new TypeError('no key');
      execFileSync('sync');
      ours.push(
        await seconds(async () => {
          const plan = { key, script: Buffer.from('true\n'), files, packages: [] };
          const { staging } = await stageWorkspace(volume, stores, plan);
          await publishWorkspace(volume, staging, key);
        }),
      );
    }
    const ratio = median(ours.map((time, round) => time / (rival[round] ?? Number.NaN)));
    return {
      name: 'many small files',
      goal: `${FILES} files of 1 KiB in one workspace take at most ${GOAL} × tar x + sync`,
      rows: [
        { label: 'tar x + sync, median', value: median(rival), unit: 's' },
        { label: 'staged and published, median', value: median(ours), unit: 's' },
        { label: 'ratio, median of pairs', value: ratio, unit: '×' },
        { label: 'tar x + sync, fastest', value: Math.min(...rival), unit: 's' },
        { label: 'staged and published, fastest', value: Math.min(...ours), unit: 's' },
      ],
      met: ratio <= GOAL,
      notes: [
        'Two threads with synchronous calls and one syncfs. An fsync of each file, sixteen at once, took 2.5 times as long as tar and sync.',
        'ext4 does not reuse inodes that were freed in the last minutes, and looks past each of them: after many files were deleted there, both sides take up to ten times as long.',
      ],
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
