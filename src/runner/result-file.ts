import type { EndRecord } from '../protocol/end-record.ts';
import { Fault } from '../protocol/fault.ts';
import { temporaryBeside, type VolumeFiles } from './volume-files.ts';

/**
 * Writes `out/result.json`: the sealed end frame, and the end record in clear for people, which proves nothing.
 *
 * Whole or not at all, and durable (invariant 1). Read back by its path before it is believed: on a network file
 * system a write may go to a file that the path no longer leads to.
 *
 * @throws {Fault} STORAGE_ codes.
 */
export async function writeResult(
  files: VolumeFiles,
  target: string,
  result: { readonly endFrame: Buffer; readonly outcome: EndRecord },
): Promise<void> {
  const endFrame = result.endFrame.toString('latin1').trimEnd();
  const bytes = Buffer.from(`${JSON.stringify({ endFrame, outcome: result.outcome }, undefined, 2)}\n`);
  const temporary = temporaryBeside(target);
  await files.createDurable(temporary, bytes);
  await files.rename(temporary, target);
  const found = await files.readAll(target, 2 * bytes.length);
  if (!found.equals(bytes))
    throw new Fault('STORAGE_ERROR', `${target} does not hold what was written to it`);
  await files.sync(target.slice(0, target.lastIndexOf('/')));
}
