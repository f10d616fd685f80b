import { promises as fs } from 'node:fs';
import type { ScriptKey } from '../../protocol/ticket.ts';
import { PodOutput, type PodOutputOptions } from './pod-output.ts';

type Common = Pick<PodOutputOptions, 'connection' | 'folder' | 'spoolBytes' | 'isDoubtful' | 'observe'>;

export interface PodOutputsOptions extends Common {
  readonly isOver: (key: ScriptKey) => boolean;
  readonly changed: (key: ScriptKey) => void;
  /** Logs that are kept although they were read to their end. @default 64 */
  readonly maxComplete?: number;
}

/** The output of one pod, from the moment when somebody wanted it. */
interface Entry {
  readonly podUid: string;
  readonly opening: Promise<PodOutput | undefined>;
  output: PodOutput | undefined;
  hasFailed: boolean;
}

/** The outputs of all pods that somebody wanted to read, each opened once. */
export class PodOutputs {
  readonly #options: PodOutputsOptions;
  readonly #entries = new Map<ScriptKey, Entry>();

  constructor(options: PodOutputsOptions) {
    this.#options = options;
  }

  /** Removes what an agent before this one left. */
  async clear(): Promise<void> {
    await fs.rm(this.#options.folder, { recursive: true, force: true });
  }

  /** The scripts that have something here. */
  get keys(): ScriptKey[] {
    return [...this.#entries.keys()];
  }

  /** The output of a script that is open already. */
  of(key: ScriptKey): PodOutput | undefined {
    return this.#entries.get(key)?.output;
  }

  /** More of it will be read; not where the local disk takes nothing, so that the volume has to do. */
  isReading(key: ScriptKey): boolean {
    const entry = this.#entries.get(key);
    return entry !== undefined && !entry.hasFailed && entry.output?.isComplete !== true;
  }

  /**
   * Begins to read the log of a pod whose container has begun; undefined where the local disk takes nothing.
   *
   * What was read of an earlier pod of the script goes: that one was gone before the script was claimed.
   */
  async open(key: ScriptKey, podUid: string): Promise<PodOutput | undefined> {
    const before = this.#entries.get(key);
    if (before?.podUid === podUid) return before.opening;
    const opening = this.#open(key, before?.opening);
    const entry: Entry = { podUid, opening, output: undefined, hasFailed: false };
    this.#entries.set(key, entry);
    void this.#dropOldest();
    entry.output = await opening;
    entry.hasFailed = entry.output === undefined;
    if (entry.hasFailed) this.#options.changed(key);
    return opening;
  }

  async remove(key: ScriptKey): Promise<void> {
    const entry = this.#entries.get(key);
    await (await entry?.opening)?.close();
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#entries.values()].map(async ({ opening }) => (await opening)?.close()));
  }

  /** Never fails: what cannot be removed stays until the agent ends. */
  async #dropOldest(): Promise<void> {
    const { maxComplete = 64 } = this.#options;
    const complete = [...this.#entries].filter(([, { output }]) => output?.isComplete);
    for (const [key] of complete.slice(0, Math.max(0, complete.length - maxComplete)))
      await this.remove(key).catch(() => undefined);
  }

  async #open(
    key: ScriptKey,
    before: Promise<PodOutput | undefined> | undefined,
  ): Promise<PodOutput | undefined> {
    const { isOver, changed, maxComplete: _, ...common } = this.#options;
    try {
      await (await before)?.close();
      const told = { isOver: () => isOver(key), changed: () => changed(key) };
      return await PodOutput.open({ ...common, ...told, key });
    } catch (error) {
      common.observe({ type: 'log-restart', resource: 'pods/log', reason: 'not-taken', error });
      return undefined;
    }
  }
}
