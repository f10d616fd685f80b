/** Pushes a package, stages a workspace with it and publishes that; kills itself at the n-th step at the gate. */
import { Readable } from 'node:stream';
import { publishWorkspace, stageWorkspace } from '../../src/staging/workspace.ts';
import { storesOn } from '../harness/stores.ts';
import { volumeAt } from '../harness/temporary-volume.ts';
import { FILES, KEY, PACKAGE, packageBytes, SCRIPT } from './staged-fixture.ts';

const [folder = '', count = ''] = process.argv.slice(2);
let left = Number(count);
const volume = volumeAt(folder, ({ phase }) => {
  // The end of one operation leaves the same volume behind as the beginning of the next.
  if (phase === 'begin') left -= 1;
  // As a power cut of the agent: nothing is flushed, no handler runs.
  if (left === 0) process.kill(process.pid, 'SIGKILL');
});
const stores = storesOn(volume);
await stores.packages.push(PACKAGE.id, PACKAGE.version, {
  source: Readable.from([packageBytes()], { objectMode: false }),
  extension: '.zip',
});
const plan = { key: KEY, script: SCRIPT, files: FILES, packages: [PACKAGE] };
const { staging } = await stageWorkspace(volume, stores, plan);
await publishWorkspace(volume, staging, KEY);
process.stdout.write('published\n');
