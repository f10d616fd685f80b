import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Gate, type GateEvent } from '../../src/mount/gate.ts';
import { Volume } from '../../src/mount/volume.ts';
import { VolumeLayout } from '../../src/protocol/volume-layout.ts';

/** A folder of its own below the temporary folder of the machine, gone when the test ends. */
export function temporaryFolder(t: { teardown: (work: () => void) => void }, name = 'longshore'): string {
  const folder = mkdtempSync(join(tmpdir(), `${name}-test-`));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A volume on a real folder, its layout made. */
export async function temporaryVolume(
  t: { teardown: (work: () => void) => void },
  observe?: (event: GateEvent) => void,
): Promise<Volume> {
  const volume = volumeAt(temporaryFolder(t), observe);
  for (const folder of volume.layout.folders) await volume.makeFolder(folder);
  return volume;
}

/** A volume on a folder that is there, as a second agent on it has one. */
export function volumeAt(folder: string, observe?: (event: GateEvent) => void): Volume {
  const gate = new Gate({ budget: 24, queueLimit: 4096, deadlineMs: 10_000, ...(observe && { observe }) });
  return new Volume({ gate, layout: new VolumeLayout(folder), slowDeadlineMs: 60_000 });
}
