import { refusalFor, type ApiRefusal } from './api-error.ts';

/** As much of an object of the API as a watch needs. */
export interface ApiObject {
  readonly metadata?: { readonly name?: string; readonly uid?: string; readonly resourceVersion?: string };
}

/** One line of a watch. A bookmark only says how far the server is. */
export interface WatchEvent<T extends ApiObject> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: T;
}

/** Something came that is no event: after it nothing of the stream can be trusted. */
export class BrokenEvent extends Error {
  constructor(why: string, cause?: unknown) {
    super(why, cause === undefined ? undefined : { cause });
    this.name = 'BrokenEvent';
  }
}

const TYPES: readonly unknown[] = ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK'];

/**
 * Reads a line of a watch.
 *
 * @throws {ApiRefusal} for an ERROR event, with the server's status; 410 when it forgot where the watch is.
 * @throws {BrokenEvent} for anything else that is no event with an object and its version.
 */
export function parseWatchEvent<T extends ApiObject>(line: string): WatchEvent<T> {
  const parsed = eventOf(line);
  if (parsed.type === 'ERROR') throw refusalOf(parsed.object);
  if (!TYPES.includes(parsed.type)) throw new BrokenEvent(`no event is of type ${String(parsed.type)}`);
  const event = parsed as WatchEvent<T>;
  if (typeof event.object?.metadata?.resourceVersion !== 'string')
    throw new BrokenEvent('an event without an object, or one without a version');
  return event;
}

function eventOf(line: string): { readonly type?: unknown; readonly object?: unknown } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch (error) {
    throw new BrokenEvent('a line of the watch is no JSON', error);
  }
  if (typeof parsed !== 'object' || parsed === null)
    throw new BrokenEvent('a line of the watch is no object');
  return parsed;
}

function refusalOf(status: unknown): ApiRefusal {
  const code: unknown =
    typeof status === 'object' && status !== null ? Reflect.get(status, 'code') : undefined;
  return refusalFor(typeof code === 'number' ? code : 500, JSON.stringify(status) ?? '', undefined);
}
