import type { RunOrder } from '../protocol/run-order.ts';
import type { WorkspaceLayout } from '../protocol/volume-layout.ts';
import type { TakenClaim } from './claim.ts';
import type { FrameWriter } from './frame-writer.ts';
import type { MountWatch } from './mount-watch.ts';
import type { RunnerHost } from './runner-host.ts';
import type { VolumeJournal } from './volume-journal.ts';

/** A script that has a claim, and what is known of it. */
export interface ClaimedRun {
  readonly order: RunOrder;
  readonly host: RunnerHost;
  /** On the volume. */
  readonly places: WorkspaceLayout;
  readonly claim: TakenClaim;
  readonly journal: FrameWriter;
  readonly volume: VolumeJournal;
  readonly mount: MountWatch;
  readonly oomKillsBefore: number | null;
}
