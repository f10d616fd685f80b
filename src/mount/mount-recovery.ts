import { Fault } from '../protocol/fault.ts';
import type { Belief } from '../protocol/mount-belief.ts';
import { ensureLayout, findOrCreateEpoch, readEpoch } from './epoch.ts';
import type { MountWatch } from './mount-watch.ts';
import type { Volume } from './volume.ts';

export interface MountRecoveryOptions {
  readonly watch: Pick<MountWatch, 'belief' | 'epoch' | 'expect' | 'subscribe'>;
  /** A way to the volume that is open while nothing else may pass. */
  readonly volume: Volume;
  /** Whether the folder is still on the mount that it was on at the start. */
  readonly isMounted: () => Promise<boolean>;
  /** From one trial to the next. */
  readonly retryMs: number;
  readonly failed: (error: unknown) => void;
}

/**
 * Goes on with new data where the old is proven to be gone: makes an epoch on a volume that is empty, or adopts the one
 * that is there.
 *
 * Only after the proofs of `emptied` and `replaced`: after a loss by the limit or by stale handles the same data may
 * come back, and two epochs would fight over it. Several agents that recover at once find the same epoch.
 */
export class MountRecovery {
  readonly #options: MountRecoveryOptions;
  readonly #forget: () => void;
  #timer: NodeJS.Timeout | undefined;
  #trying: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: MountRecoveryOptions) {
    this.#options = options;
    this.#forget = options.watch.subscribe((belief) => this.#consider(belief));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#forget();
    clearTimeout(this.#timer);
    await this.#trying;
  }

  #consider({ rule }: Belief): void {
    if (this.#isClosed || this.#trying || (rule !== 'emptied' && rule !== 'replaced')) return;
    clearTimeout(this.#timer);
    this.#trying = this.#recover().finally(() => {
      this.#trying = undefined;
      // The watch has still to see it, and it may have failed.
      if (!this.#isClosed) this.#timer = setTimeout(() => this.#again(), this.#options.retryMs).unref();
    });
  }

  #again(): void {
    this.#consider(this.#options.watch.belief());
  }

  async #recover(): Promise<void> {
    const { volume, watch, failed, isMounted } = this.#options;
    try {
      // The bare folder below a mount that is gone is empty too, and a volume there would be on the local disk.
      if (!(await isMounted()))
        throw new Fault('STORAGE_UNREACHABLE', `the volume of ${volume.layout.root} is not mounted any more`);
      // A folder that a kubelet made is no volume: what is there already is looked at before anything is made.
      const found = await readEpoch(volume);
      if (found === undefined && watch.belief().rule !== 'emptied') return;
      await ensureLayout(volume);
      watch.expect(found ?? (await findOrCreateEpoch(volume)));
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      failed(error);
    }
  }
}
