import { writeOnce } from '../staging/atomic-file.ts';
import { FIRST_STORED } from './agent-lines.ts';
import { IsolationTurn } from './isolation-turn.ts';
import type { KeptScript } from './kept-scripts.ts';
import { proveAbsence, type ScriptRoom } from './script-room.ts';

/**
 * Brings what was kept of a script back to the volume, which is trusted again: the one that was lost or another one.
 *
 * May be repeated after a kill at any step, and by several agents: every part is written once. The claim comes before
 * the record, so that no agent finds a script that looks as if nobody had started it (invariant 3).
 *
 * @throws {Fault} STORAGE_ and CLUSTER_ codes; what is kept stays kept then.
 */
export async function restoreKept(room: ScriptRoom, kept: KeptScript): Promise<void> {
  const { asked, claim, outcome, tombstone, lines, cancelled } = kept;
  const { records } = room;
  const { key } = asked;
  await proveAbsence(room);
  if ((await records.asked(key)) === undefined) {
    if (claim) await restoreClaim(room, kept);
    await records.publish(asked);
  }
  if (outcome === null && asked.isolation) await new IsolationTurn(room, asked).hasCome();
  if (kept.firstLine === FIRST_STORED) for (const line of lines) await room.lines.add(key, line);
  if (cancelled) await records.recordCancel(key, room.now().toISOString());
  if (outcome) await records.recordOutcome(key, outcome);
  if (tombstone) await records.recordTombstone(key, tombstone);
  await room.kept.forget(key);
}

async function restoreClaim({ volume }: ScriptRoom, { asked, claim }: KeptScript): Promise<void> {
  const workspace = volume.layout.workspace(asked.key);
  await volume.makeFolder(workspace.root);
  await volume.makeFolder(workspace.out);
  await writeOnce(volume, workspace.started, Buffer.from(JSON.stringify(claim)));
}
