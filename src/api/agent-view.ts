import type { ScriptBook } from '../scripts/script-book.ts';
import type { MountView } from '../mount/mount-watch.ts';
import type { BlobStore } from '../staging/blob-store.ts';
import type { PackageStore } from '../staging/package-store.ts';
import type { PodWishes } from '../protocol/pod-wishes.ts';
import type { FailureCode } from '../protocol/failure-table.ts';

/** What the routes need of the agent behind them. */
export interface AgentView {
  readonly scripts: Pick<
    ScriptBook,
    'start' | 'status' | 'cancel' | 'complete' | 'artifacts' | 'openArtifact'
  >;
  readonly packages: Pick<PackageStore, 'find' | 'list' | 'push'>;
  readonly blobs: Pick<BlobStore, 'find' | 'receive'>;
}

/** Bounds of the HTTP interface, all from the configuration. */
export interface ApiLimits {
  readonly scriptBodyMaxBytes: number;
  readonly maxDeadlineSeconds: number;
  readonly maxWaitSeconds: number;
  readonly maxConnections: number;
  readonly uploadMaxBytes: number;
  readonly maxUploads: number;
  readonly maxScripts: number;
  /** Longest wait for a JSON body. */
  readonly uploadStallMs: number;
}

/** What this room tells whoever counts and logs; never waited for. */
export type ApiEvent =
  | {
      readonly type: 'request';
      readonly id: string;
      readonly method: string;
      /** The pattern, not the path, so that there are few of them. */
      readonly route: string;
      /** 499 where the client went away before its answer. */
      readonly status: number;
      readonly seconds: number;
      readonly server: string | undefined;
      readonly ticket: string | undefined;
      readonly code: FailureCode | undefined;
    }
  /** An upload is over. */
  | {
      readonly type: 'upload';
      readonly kind: 'package' | 'blob';
      readonly result: 'created' | 'same' | FailureCode;
      /** Bytes that were stored. */
      readonly bytes: number;
      readonly seconds: number;
    }
  /** A bug, or an answer of the world that nobody foresaw; the client got AGENT_FAILED. */
  | { readonly type: 'failure'; readonly id: string; readonly route: string; readonly error: unknown };

export interface ApiOptions {
  /** @throws {Fault} AGENT_STARTING as long as the agent has not found its state. */
  readonly agent: () => AgentView;
  /** Names the server that a token belongs to. */
  readonly serverOf: (token: string) => string | undefined;
  readonly limits: ApiLimits;
  /** Tells whether a script may have what it wishes of its pod; missing where scripts have no pods. @throws {Fault} POD_NOT_ALLOWED. */
  readonly checkPod?: ((wishes: PodWishes) => void) | undefined;
  /** What is known of the volume, from memory alone. */
  readonly mount: () => MountView;
  /** Whether the agent answers requests, from memory alone: a probe must not wait for a volume. */
  readonly readiness: () => { readonly ready: boolean; readonly says: string };
  /** Aborted when the agent begins to stop: intake is refused, waiting calls are answered, streams end. */
  readonly stopping: AbortSignal;
  readonly version: string;
  readonly observe: (event: ApiEvent) => void;
}
