import { writeFileSync } from 'node:fs';
import { pageFor, sectionFor } from './bench-page.ts';
import type { BenchResult } from './bench-result.ts';

/** `npm run bench` runs all and writes the page; `npm run bench -- start journal` runs those and only prints. */
const BENCHES = ['upload', 'small-files', 'start', 'journal', 'footprint', 'mount-trust'] as const;
const PAGE = 'docs/reference/benchmarks.md';

const LOADERS: Readonly<
  Record<(typeof BENCHES)[number], () => Promise<{ run: () => Promise<BenchResult> }>>
> = {
  upload: () => import('./upload.ts'),
  'small-files': () => import('./small-files.ts'),
  start: () => import('./start.ts'),
  journal: () => import('./journal.ts'),
  footprint: () => import('./footprint.ts'),
  'mount-trust': () => import('./mount-trust.ts'),
};

const asked = process.argv.slice(2);
const results: BenchResult[] = [];
for (const name of BENCHES) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  process.stdout.write(`${name} …\n`);
  const result = await (await LOADERS[name]()).run();
  results.push(result);
  process.stdout.write(`${sectionFor(result)}\n`);
}
if (asked.length === 0) writeFileSync(PAGE, pageFor('Benchmarks', 'npm run bench', results));
