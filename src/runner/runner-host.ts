import type { ScriptProcess } from './script-process.ts';
import type { StdoutWitness } from './stdout-witness.ts';
import type { StopRequest } from './stop-request.ts';
import type { VolumeFiles } from './volume-files.ts';

/** What a run has beside its order. */
export interface RunnerHost {
  readonly stdout: StdoutWitness;
  readonly files: VolumeFiles;
  /** The interpreter, waiting for its word. */
  readonly preparing: Promise<ScriptProcess>;
  readonly stop: StopRequest;
  /** Rejects when this program meets an error that nothing catches. */
  readonly crashed: Promise<never>;
  /** Nothing but this script runs in the container of this program. */
  readonly wholeContainer: boolean;
}
