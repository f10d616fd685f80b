/**
 * The states that a client sees, and what moves a script between them.
 *
 *   published ──▶ waiting ──▶ launched ──▶ running ──▶ finished ──▶ completed
 *       └────────────┴────────────┴───────────┴───────────▲
 *
 * Every state but `completed` can end in `finished`. A state is never stored: it is derived from what lies on the
 * volume and what the executor knows, so that an agent that was killed comes to the same one.
 */
export const SCRIPT_STATES = [
  'published',
  'waiting',
  'launched',
  'running',
  'finished',
  'completed',
] as const;
export type ScriptState = (typeof SCRIPT_STATES)[number];

export type ScriptEvent = 'isolation-wait' | 'launch' | 'start' | 'settle' | 'complete';

const TRANSITIONS: Readonly<Record<ScriptState, Partial<Record<ScriptEvent, ScriptState>>>> = {
  published: { 'isolation-wait': 'waiting', launch: 'launched', start: 'running', settle: 'finished' },
  waiting: { 'isolation-wait': 'waiting', launch: 'launched', start: 'running', settle: 'finished' },
  launched: { launch: 'launched', start: 'running', settle: 'finished' },
  running: { launch: 'running', start: 'running', settle: 'finished' },
  finished: { settle: 'finished', complete: 'completed' },
  completed: { complete: 'completed' },
};

/** Returns the state after `event`, or undefined where the event cannot happen in `state`. Events may be repeated. */
export function nextState(state: ScriptState, event: ScriptEvent): ScriptState | undefined {
  return TRANSITIONS[state][event];
}

/** What the volume and the executor say about a script, in the words that its state follows from. */
export interface ScriptEvidence {
  readonly tombstone: boolean;
  readonly outcome: boolean;
  /** A runner took the right to run. */
  readonly started: boolean;
  readonly launched: boolean;
  readonly inLine: boolean;
}

/** Derives the state from evidence, the strongest first. */
export function stateFrom(evidence: ScriptEvidence): ScriptState {
  if (evidence.tombstone) return 'completed';
  if (evidence.outcome) return 'finished';
  if (evidence.started) return 'running';
  if (evidence.launched) return 'launched';
  return evidence.inLine ? 'waiting' : 'published';
}
