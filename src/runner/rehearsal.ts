import { randomBytes } from 'node:crypto';
import { FrameWriter } from './frame-writer.ts';
import { interpreterFor } from './interpreter.ts';
import { LineSplitter } from './line-splitter.ts';
import { ScriptProcess } from './script-process.ts';
import { VolumeFiles } from './volume-files.ts';

/** Loads what the first line of a script needs and does it once, for a runner that has time before its order comes. */
export async function rehearse(environment: NodeJS.ProcessEnv): Promise<void> {
  await Promise.all([import('./run.ts'), import('./stdout-witness.ts')]);
  await new VolumeFiles({ deadlineMs: 1000 }).readAll('/proc/self/stat', 4096);
  const journal = new FrameWriter({ key: randomBytes(32), maxBytes: 4096, write: () => undefined });
  new LineSplitter((run) => journal.append('stdout', run)).push(Buffer.from('rehearsal\n'));
  journal.flush();
  const bash = interpreterFor('bash', environment['PATH']);
  const script = await ScriptProcess.prepare({ bash, folder: '/', script: '', arguments: [], environment });
  await script.abandon();
}
