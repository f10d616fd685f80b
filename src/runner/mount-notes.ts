import type { Belief } from '../protocol/mount-belief.ts';
import type { FrameWriter } from './frame-writer.ts';
import type { MountWatch } from './mount-watch.ts';

/** Notes in the journal what happens to the mount: a loss at once, a stall when it is over, with how long it took. */
export function noteVerdicts(mount: MountWatch, journal: FrameWriter): void {
  let doubts: Belief[] = [];
  mount.onVerdict((belief) => {
    const { verdict, says, sinceMs } = belief;
    if (verdict === 'lost') journal.note(`the volume is lost: ${says}`);
    if (verdict !== 'trusted') {
      doubts.push(belief);
      return;
    }
    const [first] = doubts;
    doubts = [];
    if (first === undefined) return;
    const seconds = ((sinceMs - first.sinceMs) / 1000).toFixed(1);
    journal.note(`the volume answers again, and is the same, after ${seconds} s: ${first.says}`);
  });
}
