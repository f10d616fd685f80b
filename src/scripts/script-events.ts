import type { FailureCode } from '../protocol/failure-table.ts';
import type { ScriptState } from '../protocol/script-state.ts';
import type { ScriptKey } from '../protocol/ticket.ts';

/** What this room tells whoever counts and logs; never waited for. */
export type ScriptEvent =
  | {
      readonly type: 'state';
      readonly key: ScriptKey;
      readonly server: string;
      readonly ticket: string;
      readonly state: ScriptState;
    }
  | {
      readonly type: 'settled';
      readonly key: ScriptKey;
      readonly server: string;
      readonly ticket: string;
      readonly code: FailureCode;
      readonly says: string;
    }
  | { readonly type: 'completed'; readonly key: ScriptKey }
  /** What an executor still had of it was removed. */
  | { readonly type: 'leftover'; readonly key: ScriptKey; readonly reason: 'orphaned' | 'over' }
  | {
      readonly type: 'read';
      readonly lines: number;
      /** Statements about lines that are lost. */
      readonly gaps: number;
      readonly lagSeconds: number | undefined;
    }
  /** A step failed and is tried again; the script is not over. */
  | {
      readonly type: 'trouble';
      readonly key: ScriptKey | undefined;
      readonly step: string;
      readonly error: unknown;
    };

export type ObserveScripts = (event: ScriptEvent) => void;
