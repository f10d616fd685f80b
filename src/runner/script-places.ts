import { Fault } from '../protocol/fault.ts';
import type { RunOrder } from '../protocol/run-order.ts';
import { WorkspaceLayout } from '../protocol/volume-layout.ts';

/**
 * Returns where the script works: in its workspace on the volume, or in the copy of it on local disk, which has the same
 * places.
 *
 * @throws {Fault} RUNNER_FAILED for a copied script whose executor did not say where.
 */
export function scriptPlaces({ workspace, copy }: RunOrder): WorkspaceLayout {
  if (copy === null) return new WorkspaceLayout(workspace);
  if (copy.folder !== null) return new WorkspaceLayout(copy.folder);
  throw new Fault('RUNNER_FAILED', 'the order of a copied script names no folder on local disk');
}
