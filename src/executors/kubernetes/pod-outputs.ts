import { promises as fs } from 'node:fs';
import type { ScriptKey } from '../../protocol/ticket.ts';
import { PodOutput, type PodOutputOptions } from './pod-output.ts';

type Common = Pick<PodOutputOptions, 'connection' | 'folder' | 'spoolBytes' | 'observe'>;

export interface PodOutputsOptions extends Common {
  readonly isOver: (key: ScriptKey) => boolean;
  readonly changed: (key: ScriptKey) => void;
}

/** The outputs of all pods that somebody wanted to read, each opened once. */
export class PodOutputs {
  readonly #options: PodOutputsOptions;
  readonly #opening = new Map<ScriptKey, Promise<PodOutput | undefined>>();
  readonly #opened = new Map<ScriptKey, PodOutput>();
  readonly #failed = new Set<ScriptKey>();

  constructor(options: PodOutputsOptions) {
    this.#options = options;
  }

  /** Removes what an agent before this one left. */
  async clear(): Promise<void> {
    await fs.rm(this.#options.folder, { recursive: true, force: true });
  }

  /** The output of a script that is open already. */
  of(key: ScriptKey): PodOutput | undefined {
    return this.#opened.get(key);
  }

  /** Nothing more of it will be read: all was, or the local disk takes nothing and the volume has to do. */
  isDone(key: ScriptKey): boolean {
    return this.#failed.has(key) || this.#opened.get(key)?.isComplete === true;
  }

  /** Begins to read the log of a pod whose container has begun; undefined where the local disk takes nothing. */
  async open(key: ScriptKey): Promise<PodOutput | undefined> {
    const there = this.#opening.get(key);
    if (there) return there;
    const { isOver, changed, ...common } = this.#options;
    const opening = PodOutput.open({
      ...common,
      key,
      isOver: () => isOver(key),
      changed: () => changed(key),
    }).then(
      (output) => {
        this.#opened.set(key, output);
        return output;
      },
      () => {
        this.#failed.add(key);
        changed(key);
        return undefined;
      },
    );
    this.#opening.set(key, opening);
    return opening;
  }

  async remove(key: ScriptKey): Promise<void> {
    const opening = this.#opening.get(key);
    await (await opening)?.remove();
    this.#opening.delete(key);
    this.#opened.delete(key);
    this.#failed.delete(key);
  }

  async close(): Promise<void> {
    const outputs = await Promise.all(this.#opening.values());
    for (const output of outputs) await output?.close();
  }
}
