/** Compares the pages of docs/reference with the code; with `--write` makes them. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { referencePages } from './reference-pages.ts';

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

mkdirSync('docs/reference', { recursive: true });
for (const [path, page] of await referencePages()) {
  if (textOf(path) === page) continue;
  if (process.argv.includes('--write')) {
    writeFileSync(path, page);
    process.stdout.write(`${path} is written\n`);
  } else {
    process.stdout.write(`${path} is not what the code says: npm run docs\n`);
    process.exitCode = 1;
  }
}
