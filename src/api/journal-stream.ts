import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { cursorText, parseCursor, type Cursor } from '../protocol/cursor.ts';
import type { ScriptStatus } from '../protocol/script-status.ts';
import type { Ticket } from '../protocol/ticket.ts';
import type { ApiOptions } from './agent-view.ts';
import { faultOf, problemFor } from './problem.ts';
import { untilGone } from './request-marks.ts';

interface JournalRequest {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly ticket: Ticket;
  readonly after: Cursor;
}

/** Proxies close a connection on which nothing moves for a minute. */
const HEARTBEAT_MS = 15_000;
const RECONNECT_MS = 1000;

/**
 * Answers with the journal after a cursor as server-sent events, until the outcome.
 *
 * A fault before the first event is an ordinary problem document; later it is an event `problem`, after which the
 * client connects again with the last id it has.
 * Source: HTML Living Standard, "Server-sent events".
 */
export async function streamJournal(options: ApiOptions, journal: JournalRequest): Promise<FastifyReply> {
  const { request, reply, ticket, after } = journal;
  const signal = untilGone(reply, options.stopping);
  const look = (cursor: Cursor, waitMs: number): Promise<ScriptStatus> =>
    options.agent().scripts.status(request.serverName, ticket, { after: cursor, waitMs, signal });
  const first = await look(after, 0);
  const events = eventsFrom(first, {
    after,
    look,
    signal,
    problem: (error) => problemEvent(error, request.id, ticket),
  });
  const stream = Readable.from(events, { objectMode: false, highWaterMark: 64 * 1024 });
  return reply.header('content-type', 'text/event-stream').header('x-accel-buffering', 'no').send(stream);
}

interface EventSource {
  readonly after: Cursor;
  readonly look: (cursor: Cursor, waitMs: number) => Promise<ScriptStatus>;
  readonly signal: AbortSignal;
  readonly problem: (error: unknown) => string;
}

async function* eventsFrom(first: ScriptStatus, source: EventSource): AsyncGenerator<string> {
  yield `retry: ${RECONNECT_MS}\n\n`;
  let state: string | undefined;
  let cursor = source.after;
  for (let status = first; ;) {
    if (status.state !== state) yield eventText('state', { state: status.state });
    state = status.state;
    let text = '';
    for (const { id, line } of withCursors(status, cursor)) text += eventText('line', line, id);
    if (text !== '') yield text;
    cursor = parseCursor(status.journal.next) ?? cursor;
    if (status.outcome !== null && !status.journal.more) {
      yield eventText('outcome', status.outcome);
      return;
    }
    if (source.signal.aborted) return;
    try {
      status = await source.look(cursor, status.journal.more ? 0 : HEARTBEAT_MS);
    } catch (error) {
      yield source.problem(error);
      return;
    }
    if (status.journal.lines.length === 0 && status.state === state) yield ': still here\n\n';
  }
}

/** Gives each line the cursor behind it; the last one that of the page, which may have gone further. */
function* withCursors(
  { journal }: ScriptStatus,
  after: Cursor,
): Generator<{ id: string; line: ScriptStatus['journal']['lines'][number] }> {
  let { script, agent } = after;
  for (const [index, line] of journal.lines.entries()) {
    if (line.id.startsWith('a')) agent = line.seq;
    else script = line.seq;
    const last = index === journal.lines.length - 1;
    yield { id: last ? journal.next : cursorText({ script, agent }), line };
  }
}

function eventText(type: 'state' | 'line' | 'outcome' | 'problem', value: unknown, id?: string): string {
  return `event: ${type}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(value)}\n\n`;
}

function problemEvent(error: unknown, requestId: string, ticket: Ticket): string {
  return eventText('problem', problemFor(faultOf(error, requestId), { requestId, ticket }).body);
}
