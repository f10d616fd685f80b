import { readEpoch } from '../mount/epoch.ts';
import type { ScriptKey } from '../protocol/ticket.ts';
import { epochOf, type ScriptRoom } from './script-room.ts';

/**
 * Removes what the executor still has of scripts that nobody can ask for any more, and of those that ended longer ago
 * than `keepEndedMs`; returns how many. May be repeated, by several agents at once.
 *
 * A record that is missing is believed only while the volume is the one that this agent found at its start
 * (invariant 6): on an emptied volume every script would look like one that nobody asked for.
 */
export async function removeRunLeftovers(room: ScriptRoom, keepEndedMs: number): Promise<number> {
  let removed = 0;
  for (const key of await room.executor.keys()) {
    const reason = await whyLeftover(room, key, keepEndedMs);
    if (reason === undefined) continue;
    if ((await readEpoch(room.volume)) !== epochOf(room)) return removed;
    await room.executor.remove(key, undefined);
    room.observe({ type: 'leftover', key, reason });
    removed += 1;
  }
  return removed;
}

async function whyLeftover(
  room: ScriptRoom,
  key: ScriptKey,
  keepEndedMs: number,
): Promise<'orphaned' | 'over' | undefined> {
  const { records } = room;
  if (room.kept.get(key)) return undefined;
  if ((await records.asked(key)) === undefined) return 'orphaned';
  if ((await records.tombstone(key)) !== undefined) return 'over';
  const outcome = await records.outcome(key);
  const isOld = outcome && room.now().getTime() - Date.parse(outcome.endedAt) > keepEndedMs;
  return isOld ? 'over' : undefined;
}
