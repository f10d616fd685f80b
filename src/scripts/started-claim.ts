import { parseStartedClaim, type StartedClaim } from '../protocol/run-order.ts';
import type { ScriptKey } from '../protocol/ticket.ts';
import { readOnce, writeOnce } from '../staging/atomic-file.ts';
import type { Volume } from '../mount/volume.ts';
import type { FailureCode } from '../protocol/failure-table.ts';

/** `unreadable`: somebody took the claim and its text is not whole, or not yet. */
export type ClaimSeen = StartedClaim | 'unreadable' | undefined;

const MAX_CLAIM_BYTES = 16 * 1024;

/** Reads who took the right to run the script of `key`; undefined where nobody did. */
export async function readClaim(volume: Volume, key: ScriptKey): Promise<ClaimSeen> {
  const bytes = await readOnce(volume, volume.layout.workspace(key).started, MAX_CLAIM_BYTES);
  return bytes && (parseStartedClaim(bytes.toString('utf8')) ?? 'unreadable');
}

/**
 * Takes the claim for the agent, so that no runner can ever run the script; false where a runner or another agent has it.
 *
 * This is what makes a cancel win over a runner that is on its way and not there yet (invariants 3 and 9).
 */
export async function claimForAgent(
  volume: Volume,
  key: ScriptKey,
  claim: {
    readonly reason: FailureCode;
    readonly at: string;
    readonly says?: string;
    readonly evidence?: Readonly<Record<string, unknown>>;
  },
): Promise<boolean> {
  const bytes = Buffer.from(JSON.stringify({ by: 'agent', ...claim } satisfies StartedClaim));
  return writeOnce(volume, volume.layout.workspace(key).started, bytes);
}
