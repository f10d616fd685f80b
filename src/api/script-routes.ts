import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { cursorText, parseCursor, START_OF_JOURNAL, type Cursor } from '../protocol/cursor.ts';
import type { ScriptStatus } from '../protocol/script-status.ts';
import type { Ticket } from '../protocol/ticket.ts';
import type { ApiOptions } from './agent-view.ts';
import { answerOf, answers, ArtifactsAnswer, StatusAnswer } from './answer-schemas.ts';
import type { App } from './typed-app.ts';
import { sendArtifact } from './artifact-stream.ts';
import type { BodyManners } from './body-manners.ts';
import { intakeGuard } from './intake-guard.ts';
import { readText } from './json-body.ts';
import { streamJournal } from './journal-stream.ts';
import { GUARDED } from './open-api.ts';
import { invalidField } from './problem.ts';
import { ticketOf, untilGone } from './request-marks.ts';
import { refuseUnsupported, startBodySchema } from './start-body.ts';
import { scriptRequestFrom } from './start-request.ts';

const closed = { additionalProperties: false } as const;
const TicketParams = Type.Object({ ticket: Type.String() });
const After = Type.Optional(
  Type.String({ description: 'cursor of an earlier answer; default: the beginning' }),
);
const StatusQuery = Type.Object(
  { after: After, wait: Type.Optional(Type.String({ description: 'longest wait for news, in seconds' })) },
  closed,
);
const JournalQuery = Type.Object({ after: After }, closed);
const about = { tags: ['scripts'], security: GUARDED, params: TicketParams };

/** The life of a script, from its start to its completion. */
export function addScriptRoutes(app: App, options: ApiOptions, manners: BodyManners): void {
  addJsonParser(app, options, manners);
  addStart(app, options);
  addStatus(app, options);
  addEnd(app, options);
  addArtifacts(app, options);
}

function addJsonParser(app: App, { limits }: ApiOptions, manners: BodyManners): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', async (request: FastifyRequest) => {
    const text = await readText(request.raw, {
      maxBytes: limits.scriptBodyMaxBytes,
      timeoutMs: limits.uploadStallMs,
      announcedBytes: Number(request.headers['content-length'] ?? 0),
    });
    // Calls that take no body may come with the media type and nothing behind it.
    if (text === '') return undefined;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    void parse(request, text, (error, value) => (error ? reject(error) : resolve(value)));
    return promise;
  });
  app.addHook('preParsing', async (request, reply) => manners.askFor(request, reply));
}

function addStart(app: App, options: ApiOptions): void {
  app.put(
    '/v1/scripts/:ticket',
    {
      onRequest: intakeGuard(options),
      preValidation: async (request) =>
        refuseUnsupported(request.body, { pods: options.checkPod !== undefined }),
      schema: {
        ...about,
        summary: 'Start a script',
        description:
          'Durable when it answers. The same body again finds the same script, another one is refused',
        body: startBodySchema(options.limits),
        response: answers({ 200: StatusAnswer }),
      },
    },
    async (request, reply) => {
      const ticket = ticketOf(request);
      const script = scriptRequestFrom(request.body);
      if (script.pod) options.checkPod?.(script.pod);
      await options.agent().scripts.start(request.serverName, ticket, script);
      void reply.header('location', `/v1/scripts/${ticket}`);
      return statusNow(request, ticket, options, START_OF_JOURNAL);
    },
  );
}

function addStatus(app: App, options: ApiOptions): void {
  app.get(
    '/v1/scripts/:ticket',
    {
      schema: {
        ...about,
        summary: 'State, outcome, and the journal after a cursor',
        description: 'Answers at once with lines or a changed state, else when `wait` is over',
        querystring: StatusQuery,
        response: answers({ 200: StatusAnswer }),
      },
    },
    async (request, reply) => {
      const ticket = ticketOf(request);
      const after = cursorFrom(request.query.after, '?after');
      const waitMs = waitMsFrom(request.query.wait, options.limits.maxWaitSeconds);
      const signal = untilGone(reply, options.stopping);
      return options.agent().scripts.status(request.serverName, ticket, { after, waitMs, signal });
    },
  );
  app.get(
    '/v1/scripts/:ticket/journal',
    {
      schema: {
        ...about,
        summary: 'The journal as server-sent events',
        description:
          'Events `state`, `line` (its id is a cursor) and `outcome`, after which the stream ends. `Last-Event-ID` goes on ' +
          'behind a line. When something fails on the way, an event `problem` ends the stream, and the client comes again',
        querystring: JournalQuery,
        response: answers({ 200: answerOf('text/event-stream', 'the stream') }),
      },
    },
    async (request, reply) => {
      const ticket = ticketOf(request);
      const after = journalCursor(request, request.query.after);
      return streamJournal(options, { request, reply, ticket, after });
    },
  );
}

function addEnd(app: App, options: ApiOptions): void {
  app.post(
    '/v1/scripts/:ticket/cancel',
    {
      schema: {
        ...about,
        summary: 'Cancel a script',
        description: 'Holds from this answer on: a script that has not started never will',
        querystring: JournalQuery,
        response: answers({ 202: StatusAnswer }),
      },
    },
    async (request, reply) => {
      const ticket = ticketOf(request);
      const after = cursorFrom(request.query.after, '?after');
      await options.agent().scripts.cancel(request.serverName, ticket);
      void reply.code(202);
      return statusNow(request, ticket, options, after);
    },
  );
  app.delete(
    '/v1/scripts/:ticket',
    {
      schema: {
        ...about,
        summary: 'Complete a finished script',
        description: 'Removes what it left; its ticket never runs again',
        response: answers({ 204: Type.Null() }),
      },
    },
    async (request, reply) => {
      await options.agent().scripts.complete(request.serverName, ticketOf(request));
      return reply.code(204).send();
    },
  );
}

function addArtifacts(app: App, options: ApiOptions): void {
  app.get(
    '/v1/scripts/:ticket/artifacts',
    {
      schema: {
        ...about,
        summary: 'List what a script left',
        response: answers({ 200: ArtifactsAnswer }),
      },
    },
    async (request) => ({
      artifacts: await options.agent().scripts.artifacts(request.serverName, ticketOf(request)),
    }),
  );
  const named = Type.Object({
    ticket: Type.String(),
    '*': Type.String({ description: 'with its slashes' }),
  });
  app.get(
    '/v1/scripts/:ticket/artifacts/*',
    {
      schema: {
        ...about,
        summary: 'Fetch a file that a script left',
        params: named,
        response: answers({ 200: answerOf('application/octet-stream', 'the file') }),
      },
    },
    async (request, reply) => {
      const name = request.params['*'];
      const artifact = await options
        .agent()
        .scripts.openArtifact(request.serverName, ticketOf(request), name);
      return sendArtifact(reply, name, artifact);
    },
  );
}

async function statusNow(
  request: FastifyRequest,
  ticket: Ticket,
  options: ApiOptions,
  after: Cursor,
): Promise<ScriptStatus> {
  const query = { after, waitMs: 0, signal: options.stopping };
  return options.agent().scripts.status(request.serverName, ticket, query);
}

function cursorFrom(text: string | undefined, field: string): Cursor {
  const cursor = text === undefined ? START_OF_JOURNAL : parseCursor(text);
  if (cursor !== undefined) return cursor;
  const rule = `a cursor of an earlier answer, such as ${cursorText(START_OF_JOURNAL)}`;
  throw invalidField(field, rule, text, 'CURSOR_INVALID');
}

function journalCursor(request: FastifyRequest, after: string | undefined): Cursor {
  const header = request.headers['last-event-id'];
  return typeof header === 'string'
    ? cursorFrom(header, 'header last-event-id')
    : cursorFrom(after, '?after');
}

function waitMsFrom(text: string | undefined, maxSeconds: number): number {
  if (text === undefined) return 0;
  const seconds = /^\d{1,6}(\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
  if (seconds <= maxSeconds) return Math.round(seconds * 1000);
  throw invalidField('?wait', `a number of seconds from 0 to ${maxSeconds}`, text);
}
