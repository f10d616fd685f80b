import { Fault } from '../protocol/fault.ts';
import type { Belief } from '../protocol/mount-belief.ts';

/** What the rooms may ask of whoever watches the mount; all but `confirm` answer from memory. */
export interface MountTrust {
  belief(): Belief;
  /** The epoch that the volume must show; another one after data was lost and the agent went on with new. */
  epoch(): string | undefined;
  /** Calls `changed` whenever the belief is another one; returns what ends that. */
  subscribe(changed: (belief: Belief) => void): () => void;
  /**
   * Looks at the volume once more, not before now, and returns what is believed then.
   *
   * For whoever met an absence and is about to act on it: it is proven only by an epoch that was read afterwards.
   * Never rejects, and takes no longer than a probe may; many callers share one look.
   */
  confirm(): Promise<Belief>;
}

/** What an operation is refused with while the mount is not trusted; undefined while it is. */
export function refusalFor(belief: Belief, retryAfterSeconds: number): Fault | undefined {
  if (belief.verdict === 'trusted') return undefined;
  const { verdict, rule, code, says } = belief;
  return new Fault(code ?? 'STORAGE_TIMEOUT', says, { detail: { verdict, rule, retryAfterSeconds } });
}
