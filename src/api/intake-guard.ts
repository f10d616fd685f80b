import { Fault } from '../protocol/fault.ts';
import type { ApiOptions } from './agent-view.ts';

/** A hook for calls that bring new work: refuses it, before its body is asked for, once the agent is stopping. */
export function intakeGuard({ stopping }: Pick<ApiOptions, 'stopping'>): () => Promise<void> {
  return async () => {
    if (!stopping.aborted) return;
    throw new Fault('AGENT_STOPPING', 'the agent is stopping; send this again when another one answers');
  };
}
