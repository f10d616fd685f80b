import { cursorText, type Cursor } from '../protocol/cursor.ts';
import type { Witness } from '../executors/executor.ts';
import type { StartedClaim } from '../protocol/run-order.ts';
import type { JournalLine, JournalPage, Outcome } from '../protocol/script-status.ts';
import { FIRST_STORED, linesFor } from './agent-lines.ts';
import { readScriptLines } from './journal-reader.ts';
import type { ScriptPage } from './page-builder.ts';
import { journalKeyOf, type ScriptRoom } from './script-room.ts';
import { readClaim } from './started-claim.ts';
import type { Asked } from './ticket-record.ts';
import { VolumeWitness } from './volume-witness.ts';

/** Where the reader of a script was last, and in which witness; see ReadOptions.hint. */
export interface PlaceInWitness {
  readonly after: number;
  readonly offset: number;
  readonly live: boolean;
}

/** What to read: from where, whether the script is settled, and where the reader was last. */
export interface PageRead {
  readonly after: Cursor;
  readonly outcome: Outcome | undefined;
  readonly place: PlaceInWitness | undefined;
  /** Who runs the script, where that was seen already: a claim never changes. */
  readonly claim?: StartedClaim | undefined;
}

const MAX_PAGE_LINES = 20_000;
const MAX_PAGE_BYTES = 2 * 1024 * 1024;

/**
 * Reads the lines after a cursor, the script's and the agent's, in the order of their times.
 *
 * Lines of one source keep their own order; the cursor holds both places, so
 * nothing is lost or doubled however the two interleave.
 */
export async function readPage(
  room: ScriptRoom,
  asked: Asked,
  read: PageRead,
): Promise<{ page: JournalPage; place: PlaceInWitness; gaps: number }> {
  const { script, live } = await scriptPage(room, asked, read);
  const agent = await agentLines(room, asked, read.after.agent);
  const lines = merge(script.lines, agent, script.more);
  const agentSeen = lines.findLast(({ id }) => id.startsWith('a'))?.seq ?? read.after.agent;
  const next = cursorText({ script: script.last, agent: agentSeen });
  const place = { after: script.last, offset: script.hint, live };
  return { page: { next, more: script.more, lines }, place, gaps: script.gaps };
}

/** While the volume is not trusted, those that were seen before; a cursor never passes a line that was not given. */
async function agentLines(room: ScriptRoom, asked: Asked, after: number): Promise<JournalLine[]> {
  const kept = room.kept.get(asked.key);
  if (kept) return linesFor(asked, { stored: kept.lines, first: kept.firstLine }, after);
  if (room.mount.belief().verdict === 'trusted') return room.lines.after(asked, after);
  return linesFor(asked, { stored: room.lines.remembered(asked.key), first: FIRST_STORED }, after);
}

async function scriptPage(
  room: ScriptRoom,
  asked: Asked,
  { after, outcome, place, claim }: PageRead,
): Promise<{ script: ScriptPage; live: boolean }> {
  const total = outcome?.evidence['lines'];
  const kept = room.kept.get(asked.key);
  const seen = claim ?? (kept ? (kept.claim ?? undefined) : await readClaim(room.volume, asked.key));
  const known = seen === 'unreadable' ? undefined : seen;
  // A pod's log is fetched again after a restart of the agent, which nobody needs when the volume has all of it.
  const isWhole = room.executor.kind === 'kubernetes' && outcome?.evidence['framesNotOnVolume'] === 0;
  const isOnVolume = isWhole && kept === undefined;
  const live = isOnVolume ? undefined : await room.executor.witness(asked.key, known);
  const hasLive = live !== undefined;
  // Of a script that is over, what is not given now would be stated as a gap: then rather no page.
  const isAsked = room.mount.belief().verdict === 'trusted' || outcome !== undefined;
  const hasVolume = kept === undefined && isAsked;
  const volume = hasVolume
    ? new VolumeWitness(room.volume, room.volume.layout.workspace(asked.key).journal)
    : NOTHING;
  try {
    const script = await readScriptLines(
      { live, volume },
      {
        key: journalKeyOf(room, asked.key),
        after: after.script,
        maxLines: MAX_PAGE_LINES,
        maxBytes: MAX_PAGE_BYTES,
        over: outcome !== undefined,
        ...(typeof total === 'number' && { total }),
        ...(place?.after === after.script && place.live === hasLive && { hint: place.offset }),
      },
    );
    return { script, live: hasLive };
  } finally {
    await live?.close();
  }
}

/** In the place of a volume that cannot be asked. */
const NOTHING: Witness = {
  start: () => Promise.resolve(0),
  size: () => Promise.resolve(0),
  readAt: () => Promise.resolve(Buffer.alloc(0)),
  close: () => Promise.resolve(),
};

/** Merges by time; while more script lines are to come, agent lines behind the last one wait for their page. */
function merge(script: readonly JournalLine[], agent: readonly JournalLine[], more: boolean): JournalLine[] {
  const merged: JournalLine[] = [];
  let next = 0;
  for (const line of script) {
    for (let other = agent[next]; other && other.at < line.at; other = agent[next]) {
      merged.push(other);
      next += 1;
    }
    merged.push(line);
  }
  return more ? merged : [...merged, ...agent.slice(next)];
}
