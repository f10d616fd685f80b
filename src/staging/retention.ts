import type { Volume } from '../mount/volume.ts';
import { parseSha256 } from '../protocol/digest.ts';
import { parsePackageId, parsePackageVersion } from '../protocol/package-name.ts';
import { STAGING_PREFIX } from '../protocol/volume-layout.ts';
import { isTemporary } from './atomic-file.ts';

/** When what may go. Ages are by modification time, which is another machine's clock: keep them long. */
export interface SweepRules {
  /** What a killed agent left half made: temporary names, uploads, staged folders. */
  readonly leftoverAgeMs: number;
  /** Packages and blobs that nothing used; a look by find() counts as use. */
  readonly unusedAgeMs: number;
  /** The bound of one pass; the next one goes on. */
  readonly maxRemovals: number;
  /** Tells whether the record of a ticket names this staged folder: then it is a workspace without its name yet. */
  readonly isNeeded: (staging: string) => boolean | Promise<boolean>;
  /** Ends the pass early. */
  readonly signal?: AbortSignal;
}

export type SweepCounts = Record<'temporaries' | 'uploads' | 'stagings' | 'packages' | 'blobs', number>;

/** Packages go first, so that no pointer is left without its bytes; find() marks both within a day of each other. */
const BLOBS_OUTLIVE_PACKAGES_MS = 2 * 24 * 60 * 60 * 1000;

/**
 * Removes what is left over and what was not used for long, at most `maxRemovals` of all.
 *
 * Safe beside everything else, on several agents too: a name goes when it is old, and what makes or uses one makes it
 * young. A package that is removed in the moment in which a script asks for it is PACKAGE_MISSING to that script,
 * and its server pushes it again. Run it under a lock, so that agents do not all do the same looks.
 */
export async function sweepStaging(volume: Volume, rules: SweepRules, now: Date): Promise<SweepCounts> {
  const sweep = new Sweep(volume, rules, now);
  const { layout } = volume;
  await sweep.uploads();
  await sweep.stagings();
  await sweep.temporaries(layout.root, 0);
  await sweep.temporaries(layout.locks, 0);
  await sweep.temporaries(layout.packages, 1);
  await sweep.temporaries(layout.isolation, 1);
  await sweep.temporaries(layout.tickets, 2);
  await sweep.packages();
  await sweep.blobs();
  return sweep.counts;
}

class Sweep {
  readonly counts: SweepCounts = { temporaries: 0, uploads: 0, stagings: 0, packages: 0, blobs: 0 };
  readonly #volume: Volume;
  readonly #rules: SweepRules;
  readonly #nowMs: number;

  constructor(volume: Volume, rules: SweepRules, now: Date) {
    this.#volume = volume;
    this.#rules = rules;
    this.#nowMs = now.getTime();
  }

  async uploads(): Promise<void> {
    const { uploads } = this.#volume.layout;
    for (const { name } of await this.#entries(uploads)) {
      const path = this.#volume.layout.upload(name);
      await this.#removeOld('uploads', path, this.#rules.leftoverAgeMs);
    }
  }

  async stagings(): Promise<void> {
    for (const { name } of await this.#entries(this.#volume.layout.work)) {
      if (!name.startsWith(STAGING_PREFIX)) continue;
      const staging = name.slice(STAGING_PREFIX.length);
      const path = this.#volume.layout.staging(staging).root;
      if (!(await this.#isOld(path, this.#rules.leftoverAgeMs)) || (await this.#rules.isNeeded(staging)))
        continue;
      await this.#removeOld('stagings', path, this.#rules.leftoverAgeMs);
    }
  }

  /** Temporary files and folders in `folder`, and in the folders of it down to `depth`. */
  async temporaries(folder: string, depth: number): Promise<void> {
    for (const entry of await this.#entries(folder)) {
      const path = `${folder}/${entry.name}`;
      if (isTemporary(entry.name)) await this.#removeOld('temporaries', path, this.#rules.leftoverAgeMs);
      else if (depth > 0 && entry.isDirectory()) await this.temporaries(path, depth - 1);
    }
  }

  async packages(): Promise<void> {
    const { layout } = this.#volume;
    for (const { name } of await this.#entries(layout.packages)) {
      const id = parsePackageId(name);
      if (id === undefined) continue;
      for (const entry of await this.#entries(layout.packageFolder(id))) {
        const version = parsePackageVersion(entry.name);
        if (version === undefined) continue;
        await this.#removeOld('packages', layout.package(id, version), this.#rules.unusedAgeMs);
      }
      // A folder that just got its first version is young, and one with a version is not empty.
      const folder = layout.packageFolder(id);
      if (await this.#isOld(folder, this.#rules.leftoverAgeMs)) await this.#volume.removeFolder(folder);
    }
  }

  async blobs(): Promise<void> {
    const { layout } = this.#volume;
    const age = this.#rules.unusedAgeMs + BLOBS_OUTLIVE_PACKAGES_MS;
    for (const folder of await this.#entries(layout.blobs)) {
      for (const { name } of await this.#entries(`${layout.blobs}/${folder.name}`)) {
        const digest = parseSha256(name);
        if (digest) await this.#removeOld('blobs', layout.blob(digest), age);
      }
    }
  }

  get #isOver(): boolean {
    const removed = Object.values(this.counts).reduce((sum, count) => sum + count, 0);
    return removed >= this.#rules.maxRemovals || this.#rules.signal?.aborted === true;
  }

  /** What is in a folder; nothing when the pass is over. */
  async #entries(folder: string): Promise<{ name: string; isDirectory(): boolean }[]> {
    return this.#isOver ? [] : ((await this.#volume.list(folder)) ?? []);
  }

  async #isOld(path: string, ageMs: number): Promise<boolean> {
    const facts = await this.#volume.look(path);
    return facts !== undefined && this.#nowMs - facts.modifiedMs > ageMs;
  }

  async #removeOld(kind: keyof SweepCounts, path: string, ageMs: number): Promise<void> {
    if (this.#isOver || !(await this.#isOld(path, ageMs))) return;
    await this.#volume.removeTree(path);
    this.counts[kind] += 1;
  }
}
