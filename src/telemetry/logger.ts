import { destination, pino, stdTimeFunctions, type Logger } from 'pino';
import { Fault } from '../protocol/fault.ts';

export type { Logger } from 'pino';

export interface LoggerOptions {
  readonly level: string;
  /** Where to write, a file descriptor; standard output by default. Never a file on the volume. */
  readonly fd?: number;
  /** Called for every line of level warn and above, with its level. */
  readonly counted?: (level: string) => void;
}

/**
 * Makes the agent's logger: JSON lines with a constant message, and fields `ticket`, `server`, `code` and the like.
 *
 * Lines are written at once: an agent that is killed has said what it knew.
 */
export function makeLogger({ level, fd = 1, counted }: LoggerOptions): Logger {
  return pino(
    {
      level,
      base: { name: 'longshore' },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: ['headers.authorization', 'token', 'key'],
      hooks: {
        logMethod(line, method, number) {
          if (number >= 40) counted?.(pino.levels.labels[number] ?? String(number));
          method.apply(this, line);
        },
      },
    },
    destination({ fd, sync: true }),
  );
}

/** The fields of an error for a log line: its code, and every cause below it, down to errno. */
export function errorFields(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { error: String(error) };
  const { message, cause, stack } = error;
  return {
    error: message,
    ...(error instanceof Fault ? { code: error.code, detail: error.detail } : { stack }),
    ...('errno' in error && { errno: error.errno }),
    ...(cause !== undefined && { cause: errorFields(cause) }),
  };
}
