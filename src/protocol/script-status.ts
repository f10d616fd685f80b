import type { FailureCategory, FailureCode, Retry } from './failure-table.ts';
import type { ScriptState } from './script-state.ts';

/** How a script ended, as clients see it and as it lies on the volume. */
export interface Outcome {
  readonly code: FailureCode;
  readonly category: FailureCategory;
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly says: string;
  readonly retry: Retry;
  readonly evidence: Readonly<Record<string, unknown>>;
  /** When the script's process started and ended; null where nothing ran. */
  readonly startedAt: string | null;
  readonly endedAt: string;
}

/** Whose line it is: the script's two streams, the agent and the runner, the pod or process around the script. */
export type LineStream = 'stdout' | 'stderr' | 'agent' | 'pod';

export interface JournalLine {
  /** Numbers of the runner and of the agent run apart; `id` names the line in the whole journal. */
  readonly id: string;
  readonly seq: number;
  readonly at: string;
  readonly stream: LineStream;
  readonly text: string;
  /** No line end followed: the next line of the same stream goes on with this one. */
  readonly partial?: true;
  /** The exact bytes, where they are not valid UTF-8 and `text` holds replacement characters. */
  readonly base64?: string;
}

export interface JournalPage {
  /** Opaque; goes back as `?after=`. */
  readonly next: string;
  /** More lines are there already: ask again at once. */
  readonly more: boolean;
  readonly lines: readonly JournalLine[];
}

/** The answer of every `/v1/scripts/{ticket}` call. */
export interface ScriptStatus {
  readonly ticket: string;
  readonly state: ScriptState;
  readonly outcome: Outcome | null;
  /** As they came with the start. */
  readonly labels: Readonly<Record<string, string>>;
  readonly journal: JournalPage;
}
