import { createInterface } from 'node:readline';
import { errnoOf } from '../mount/errno.ts';
import { insideNode } from './inside-node.ts';
import { leftNode } from './left-node.ts';
import type { NodeLine, NodeOrder } from './node-words.ts';
import { rightNode } from './right-node.ts';
import { tryCloseToOpen, tryFsync, tryPermissions, trySpace } from './trial-bytes.ts';
import { tryAnswers, tryCleanup, tryFolder } from './trial-folder.ts';
import { tryExclusive, tryLinks, tryListing, tryRename } from './trial-names.ts';
import { tryLatency, trySmallFiles } from './trial-times.ts';
import {
  parsedLine,
  type TrialFailure,
  type TrialLine,
  type TrialName,
  type TrialOrder,
  type Trials,
} from './trial-words.ts';

/*
 * What the doctor does on a volume, in a process that may hang and is killed then. One file without packages when built.
 *
 *   doctor-trials.cjs          takes orders from stdin, one a line, and ends with it
 *   doctor-trials.cjs ORDER    one side of a trial between nodes, in a pod; the order is JSON
 */
const TRIALS: { readonly [Name in TrialName]: (folder: string) => Promise<Trials[Name]> } = {
  answers: tryAnswers,
  folder: tryFolder,
  rename: tryRename,
  exclusive: tryExclusive,
  fsync: tryFsync,
  'close-to-open': tryCloseToOpen,
  listing: tryListing,
  links: tryLinks,
  permissions: tryPermissions,
  space: trySpace,
  'small-files': trySmallFiles,
  latency: tryLatency,
  cleanup: tryCleanup,
};

const SIDES = { left: leftNode, right: rightNode, inside: insideNode } as const;

async function takeOrders(): Promise<boolean> {
  const say = (line: TrialLine): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
  say({ type: 'ready' });
  for await (const line of createInterface({ input: process.stdin })) {
    const order = parsedLine<TrialOrder>(line);
    if (order === undefined) continue;
    try {
      say({ type: 'facts', id: order.id, facts: await TRIALS[order.trial](order.folder) });
    } catch (error) {
      say({ type: 'failed', id: order.id, failure: failureOf(error) });
    }
  }
  // The doctor is gone, and nobody waits for an exit code.
  return false;
}

/** False where a call may still be in the kernel. */
async function takeSide(order: NodeOrder): Promise<boolean> {
  let isClean = true;
  const say = (line: NodeLine): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
  const stopping = new AbortController();
  // A pod is told to end before it is killed, and then what it wrote is still to be removed.
  process.once('SIGTERM', () => stopping.abort());
  const timer = setTimeout(() => stopping.abort(), order.limitMs);
  try {
    await SIDES[order.side](order, { say, signal: stopping.signal });
  } catch (error) {
    isClean = false;
    say({ type: 'failed', failure: failureOf(error) });
  }
  clearTimeout(timer);
  // Both make the folder. Right must not remove it while left still works, and left may never have come. What cannot be
  // removed now, the next doctor removes.
  const removes = order.side === 'left' || (order.side === 'right' && !isClean);
  if (removes) await tryCleanup(order.folder).catch(() => (isClean = false));
  say({ type: 'end' });
  return isClean;
}

function failureOf(error: unknown): TrialFailure {
  const errno = errnoOf(error);
  const says = error instanceof Error ? error.message : String(error);
  return { says, ...(errno !== undefined && { errno }) };
}

async function main(): Promise<void> {
  const order = parsedLine<NodeOrder>(process.argv.at(-1) ?? '');
  const isClean = order ? await takeSide(order) : await takeOrders();
  // What was said is on its way. An ordinary exit would wait for a call that hangs.
  process.stdout.write('', () => (isClean ? process.exit(0) : process.kill(process.pid, 'SIGKILL')));
}

void main();
