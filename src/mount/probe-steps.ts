import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { performance } from 'node:perf_hooks';
import { CANARY_PREFIX, TEMPORARY_MARK } from '../protocol/volume-layout.ts';
import { errnoOf } from './errno.ts';
import type { ProbeKind, ProbePlaces, ProbeStep } from './probe-words.ts';

type Tell = (step: ProbeStep) => void;

const MAX_EPOCH_BYTES = 1024;
/** Canaries of an agent that has written none for this long are nobody's. */
const CANARY_AGE_MS = 3_600_000;
/** Entries of the folder of canaries that one sweep looks at. */
const MAX_SWEPT = 1000;

/**
 * Makes the calls of one probe, each of which may hang for ever: only for a process that can be killed.
 *
 * Synchronous, so that none of them needs a thread and the process dies at once where the kernel lets it. Every step is
 * told as soon as it came back, so that a killed probe has told what still answered.
 */
export function runProbe(kind: ProbeKind, places: ProbePlaces, tell: Tell): void {
  if (kind === 'liveness') looksAlive(places, tell);
  else takesBytes(places, tell);
}

/**
 * The root first: a client may open the epoch from its cache for more than 100 s after the server died, and never
 * answer statfs(2) from it. Where that fails, a listing may still show that a root is there.
 */
function looksAlive({ root, epoch }: ProbePlaces, tell: Tell): void {
  const hasRoot = told('statfs', tell, () => fs.statfsSync(root));
  if (!hasRoot) told('list', tell, () => fs.readdirSync(root));
  told(
    'epoch',
    tell,
    () => textOf(epoch),
    (text) => ({ text }),
  );
}

function takesBytes({ canary, canaries }: ProbePlaces, tell: Tell): void {
  const temporary = `${canary}${TEMPORARY_MARK}${randomBytes(8).toString('hex')}`;
  const bytes = randomBytes(32).toString('hex');
  const wrong = (text: string) => (text === bytes ? {} : { says: 'it holds other bytes than were written' });
  const isWritten =
    told('write', tell, () => fs.writeFileSync(temporary, bytes, { flag: 'wx', flush: true })) &&
    told('rename', tell, () => fs.renameSync(temporary, canary)) &&
    // By path: a write through an old descriptor may succeed on a volume that nobody sees any more.
    told('read', tell, () => textOf(canary), wrong);
  if (isWritten) told('sweep', tell, () => sweep(canaries, canary));
}

/** Files of agents that are gone, and temporary ones of killed children. */
function sweep(canaries: string, own: string): void {
  const oldest = Date.now() - CANARY_AGE_MS;
  for (const name of fs.readdirSync(canaries).slice(0, MAX_SWEPT)) {
    const path = `${canaries}/${name}`;
    if (!name.startsWith(CANARY_PREFIX) || path === own) continue;
    if ((fs.statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? oldest) < oldest)
      fs.rmSync(path, { force: true });
  }
}

/** Tells how `work` went, with what `facts` makes of its result; false where it failed or the result is wrong. */
function told<T>(
  step: ProbeStep['step'],
  tell: Tell,
  work: () => T,
  facts: (value: T) => Partial<ProbeStep> = () => ({}),
): boolean {
  const begun = performance.now();
  const seconds = (): number => (performance.now() - begun) / 1000;
  try {
    const found = facts(work());
    tell({ ...found, step, seconds: seconds() });
    return found.says === undefined;
  } catch (error) {
    const says = error instanceof Error ? error.message : String(error);
    // Without a number it is no error of the volume; then the sentence is all there is.
    const errno = errnoOf(error);
    tell({ step, seconds: seconds(), says, ...(errno !== undefined && { errno }) });
    return false;
  }
}

function textOf(path: string): string {
  const descriptor = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  try {
    const bytes = Buffer.alloc(MAX_EPOCH_BYTES);
    return bytes.subarray(0, fs.readSync(descriptor, bytes, 0, bytes.length, 0)).toString('latin1');
  } finally {
    fs.closeSync(descriptor);
  }
}
