/** A place in a journal: the last line of the script and the last line of the agent that the client has. */
export interface Cursor {
  readonly script: number;
  readonly agent: number;
}

export const START_OF_JOURNAL: Cursor = { script: 0, agent: 0 };

const CURSOR = /^s(0|[1-9][0-9]{0,14})\.a(0|[1-9][0-9]{0,14})$/;

/** Reads `s42.a3`; undefined for anything else. */
export function parseCursor(text: string): Cursor | undefined {
  const [, script, agent] = CURSOR.exec(text) ?? [];
  return script === undefined || agent === undefined
    ? undefined
    : { script: Number(script), agent: Number(agent) };
}

/** Writes a cursor; clients hand it back as it is and read nothing into it. */
export function cursorText(cursor: Cursor): string {
  return `s${cursor.script}.a${cursor.agent}`;
}
