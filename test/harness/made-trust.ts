import type { MountTrust } from '../../src/mount/mount-trust.ts';
import type { Belief, MountRule, StorageCode, Verdict } from '../../src/protocol/mount-belief.ts';
import { openCase } from '../../src/protocol/mount-verdict.ts';

/** A mount of which is believed what the test says. */
export class MadeTrust implements MountTrust {
  readonly #changed = new Set<(belief: Belief) => void>();
  #belief: Belief;
  #epoch: string;
  #nowMs = 0;

  constructor(epoch: string) {
    this.#epoch = epoch;
    this.#belief = openCase({ atMs: 0, epoch }).belief;
  }

  belief(): Belief {
    return this.#belief;
  }

  epoch(): string {
    return this.#epoch;
  }

  subscribe(changed: (belief: Belief) => void): () => void {
    this.#changed.add(changed);
    return () => void this.#changed.delete(changed);
  }

  confirm(): Promise<Belief> {
    return Promise.resolve(this.#belief);
  }

  /** The volume does not answer for `seconds` from now on, as far as anybody knows. */
  stalls(seconds = 31): void {
    this.#turn('stalled', 'STORAGE_TIMEOUT', seconds);
  }

  /** The volume was emptied, or what else `code` says. */
  loses(code: StorageCode = 'STORAGE_EMPTIED', rule: MountRule = 'emptied'): void {
    this.#turn('lost', code, 5, rule);
  }

  /** The volume is as it was, or has another content. */
  returns(epoch = this.#epoch): void {
    this.#epoch = epoch;
    this.#turn('trusted', null, 7);
  }

  #turn(verdict: Verdict, code: StorageCode | null, seconds: number, rule?: MountRule): void {
    const before = this.#belief;
    this.#nowMs += seconds * 1000;
    this.#belief = {
      verdict,
      code,
      rule: rule ?? (verdict === 'trusted' ? 'reads-back' : 'missed'),
      says: `the storage is ${verdict}`,
      sinceMs: this.#nowMs,
      after: { verdict: before.verdict, lastedMs: this.#nowMs - before.sinceMs },
      evidence: [],
    };
    for (const changed of this.#changed) changed(this.#belief);
  }
}
