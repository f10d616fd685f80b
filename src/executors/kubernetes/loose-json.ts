/** Readers for JSON whose shape nobody promises: each gives the empty value of its type where there is none. */

/** The members of an object; none where `value` is no object. */
export function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  // Any object may be read by name: what is not there is undefined.
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Numbers that no count and no code can be are none. */
export function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Math.abs(value) <= Number.MAX_SAFE_INTEGER ? value : undefined;
}

/**
 * Reads a time in ms since 1970; undefined where there is none.
 *
 * The year 1970 stands for "not known": runtimes write it where a container never started.
 */
export function momentOf(value: unknown): number | undefined {
  const ms = value instanceof Date ? value.getTime() : Date.parse(textOf(value));
  return ms > 0 ? ms : undefined;
}

/** As one line of at most `max` characters: white space and control characters become single spaces. */
export function inOneLine(text: string, max: number): string {
  // Cut before the replacement too: a message may be a megabyte.
  const line = text
    .slice(0, 4 * max)
    .replace(/[\s\p{Cc}]+/gu, ' ')
    .trim();
  return shortened(line, max);
}

/** At most `max` characters; what was cut is told by an ellipsis. */
export function shortened(text: string, max: number): string {
  return text.length > max ? `${text.slice(0, max - 1)}…` : text;
}
