import type { Belief } from '../protocol/mount-belief.ts';

/** What the rest of the agent is told of its mount. */
export interface MountTrust {
  /** What is believed now. */
  readonly belief: Belief;
  /** The epoch of the content that is trusted, or was trusted last; after a loss another one may take its place. */
  readonly epoch: string;
  /** Calls `changed` after each change of the verdict or the epoch, until the function that it returns is called. */
  onChange(changed: () => void): () => void;
}
