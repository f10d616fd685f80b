import type { Witness } from '../executors/executor.ts';
import type { JournalFrame } from '../protocol/journal-frame.ts';
import { decodeSegments } from '../protocol/journal-segment.ts';
import { FrameSource } from './frame-source.ts';
import { PageBuilder, type PageBounds, type ScriptPage } from './page-builder.ts';

/** The two places where a runner writes its frames; either may be missing. */
export interface Witnesses {
  /** What went to the runner's stdout. */
  readonly live: Witness | undefined;
  /** `out/journal` on the volume. */
  readonly volume: Witness;
}

export interface ReadOptions extends PageBounds {
  readonly key: Buffer;
  /** Nothing more will be written: what neither witness has is lost. */
  readonly over: boolean;
  /** Number of the last line that there ever was, where an end record tells it. */
  readonly total?: number;
  /** Where the scan of the witness that leads may begin, from an earlier page that it led. */
  readonly hint?: number;
}

/**
 * Reads the script's lines after a number, from both witnesses, each once.
 *
 * The live witness leads. What it lacks is taken from the volume; what both lack is stated as a gap, but only when
 * nothing can come any more (invariant 5). Where there is no live witness, or none now, the volume leads.
 */
export async function readScriptLines(witnesses: Witnesses, options: ReadOptions): Promise<ScriptPage> {
  const page = new PageBuilder(options);
  const leader = witnesses.live ?? witnesses.volume;
  const source = new FrameSource(leader, options.key);
  const second = witnesses.live && new FrameSource(witnesses.volume, options.key);
  const start = options.hint ?? (await source.offsetBefore(options.after + 1));
  page.hint = start;
  for await (const item of source.scan(start)) {
    if ('frame' in item) {
      if (item.frame.first > page.next && !(await fillHole(page, { second, over: options.over }, item.frame)))
        break;
      if (page.full) break;
      page.take(item.frame);
      if (page.full) break;
    }
    page.hint = item.end;
  }
  // The live witness may have been cut off or be gone while the volume has the rest.
  if (second && options.over && !page.full) await takeFrom(page, second, Number.MAX_SAFE_INTEGER);
  if (options.over && !page.full && page.next <= (options.total ?? 0))
    page.stateGap(options.total ?? 0, undefined);
  return page.build();
}

/** Fills the hole before line `until` from the second witness; false when the page must end before it. */
async function fillHole(
  page: PageBuilder,
  { second, over }: { second: FrameSource | undefined; over: boolean },
  behind: JournalFrame,
): Promise<boolean> {
  const until = behind.first;
  if (second) await takeFrom(page, second, until);
  if (page.full) return false;
  if (page.next >= until) return true;
  // While the script runs, the other witness may only be late, or away.
  if (!over) return false;
  page.stateGap(until - 1, timeOf(behind));
  return true;
}

async function takeFrom(page: PageBuilder, source: FrameSource, until: number): Promise<void> {
  for await (const item of source.scan(await source.offsetBefore(page.next))) {
    if (!('frame' in item)) continue;
    if (item.frame.first >= until || page.full) return;
    if (item.frame.first > page.next) page.stateGap(item.frame.first - 1, timeOf(item.frame));
    page.take(item.frame);
  }
}

function timeOf(frame: JournalFrame): number | undefined {
  return decodeSegments(frame.payload)?.[0]?.atMs;
}
