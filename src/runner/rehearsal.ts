import { randomBytes } from 'node:crypto';
import { FrameWriter } from './frame-writer.ts';
import { LineSplitter } from './line-splitter.ts';

/** Loads and runs once what the first line of a script needs, for a runner that has time before its order comes. */
export async function rehearse(): Promise<void> {
  await Promise.all([import('./run.ts'), import('./stdout-witness.ts'), import('./volume-files.ts')]);
  const journal = new FrameWriter({ key: randomBytes(32), maxBytes: 4096, write: () => undefined });
  new LineSplitter((run) => journal.append('stdout', run)).push(Buffer.from('rehearsal\n'));
  journal.flush();
}
