import type { Finding } from './finding.ts';
import type { TrialChild, TrialEnd } from './trial-child.ts';
import type { TrialName } from './trial-words.ts';
import { failedFinding, hangingFinding } from './trouble-findings.ts';
import { findingsFor, type Limits } from './volume-findings.ts';

/** Longest time of each trial, in ms: several times what it takes on a slow volume that is well. */
const DEADLINES_MS: Readonly<Record<TrialName, number>> = {
  answers: 5000,
  folder: 5000,
  rename: 4000,
  exclusive: 4000,
  fsync: 4000,
  'close-to-open': 4000,
  listing: 4000,
  links: 3000,
  permissions: 3000,
  space: 10_000,
  'small-files': 4000,
  latency: 5000,
  cleanup: 3000,
};

const IN_FOLDER = [
  ...(['rename', 'exclusive', 'fsync', 'close-to-open', 'listing', 'links', 'permissions'] as const),
  ...(['latency', 'small-files', 'space'] as const),
];
/** A trial that has less time than this is left out. */
const LEAST_MS = 500;

export interface VolumeTrialsOptions {
  readonly child: TrialChild;
  readonly volume: string;
  /** Of the doctor, on the volume. */
  readonly folder: string;
  readonly limits: Limits;
  /** On the clock of performance.now(); the cleanup comes behind it. */
  readonly untilMs: number;
  readonly signal: AbortSignal;
  /** Told of the path without links, before anything is written. */
  readonly answered: (realPath: string) => void;
}

/** Tries a volume from this machine, and leaves nothing on it. Never rejects; what had no time has no finding. */
export class VolumeTrials {
  readonly #options: VolumeTrialsOptions;
  readonly #findings: Finding[] = [];

  constructor(options: VolumeTrialsOptions) {
    this.#options = options;
  }

  async run(): Promise<Finding[]> {
    const { volume, folder, answered } = this.#options;
    const answers = await this.#try('answers', volume);
    // Where the root does not answer, every other call would only hang or fail as well.
    if (answers?.is !== 'facts') return this.#findings;
    answered(answers.facts.realPath);
    const made = await this.#try('folder', folder);
    if (made?.is === 'facts') {
      for (const trial of IN_FOLDER) await this.#try(trial, folder);
    }
    // Whatever became of it, the folder may be there.
    if (made) await this.#cleanUp(folder, made.is !== 'failed');
    return this.#findings;
  }

  async #try<Name extends TrialName>(trial: Name, folder: string): Promise<TrialEnd<Name> | undefined> {
    const { child, untilMs, signal, limits } = this.#options;
    const leftMs = untilMs - performance.now();
    if (signal.aborted || leftMs < LEAST_MS) return undefined;
    const kill = (): void => child.kill();
    signal.addEventListener('abort', kill, { once: true });
    const end = await child.try(trial, folder, Math.min(DEADLINES_MS[trial], Math.round(leftMs)));
    signal.removeEventListener('abort', kill);
    if (end.is === 'facts') this.#findings.push(...findingsFor(trial, end.facts, limits));
    if (end.is === 'failed') this.#findings.push(failedFinding(trial, end.failure));
    if (end.is === 'hangs') this.#findings.push(hangingFinding(trial, end.deadlineMs));
    if (end.is === 'broken' && !signal.aborted)
      this.#findings.push({ check: trial, verdict: 'warn', says: `it could not be tried: ${end.says}` });
    return end;
  }

  /** Also after an interruption, and after the time is over. */
  async #cleanUp(folder: string, tells: boolean): Promise<void> {
    const end = await this.#options.child.try('cleanup', folder, DEADLINES_MS.cleanup);
    if (!tells) return;
    if (end.is === 'facts')
      return void this.#findings.push(...findingsFor('cleanup', end.facts, this.#options.limits));
    this.#findings.push({
      check: 'cleanup',
      verdict: 'note',
      measured: folder,
      says: 'its folder is still there',
      advice: 'the next doctor removes it, when it is ten minutes old',
    });
  }
}
