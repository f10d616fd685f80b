import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import swagger from '@fastify/swagger';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { Fault } from '../protocol/fault.ts';
import type { ApiOptions } from './agent-view.ts';
import type { App } from './typed-app.ts';
import { BodyManners } from './body-manners.ts';
import { faultOf, problemFor } from './problem.ts';
import { addAboutRoutes } from './about-routes.ts';
import { openApiOptions } from './open-api.ts';
import { requestIdFrom, serverFrom, ticketIn } from './request-marks.ts';
import { compileCheck } from './schema-check.ts';
import { addScriptRoutes } from './script-routes.ts';
import { addUploadRoutes } from './upload-routes.ts';

const HEADERS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' } as const;
/** What nginx calls an answer that nobody was there for. */
const CLIENT_GONE = 499;
/** Longer than any name that a rule allows, so that the rule answers and not the router. */
const MAX_PARAMETER_LENGTH = 8192;

/**
 * Builds the HTTP interface; it listens to nothing yet and knows of no process.
 *
 *   head ─▶ id, headers ─▶ token ─▶ intake open? ─▶ path, query ─▶ body ─▶ schema ─▶ rules ─▶ handler ─▶ answer
 *               │            401        503           400/404    413/415    400/422   400      │
 *               └──────────────────────────── problem+json, code of the failure table ◀────────┘
 *
 * An upload asks for its body only inside the handler, when nothing stands against it any more.
 */
export function buildApp(options: ApiOptions): FastifyInstance {
  const app = fastify({
    genReqId: (request) => requestIdFrom(request.headers['x-request-id']) ?? randomUUID(),
    requestIdHeader: false,
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    // Node's own limit of 300 s would cut slow uploads of many GB; the upload writer has a minimum rate instead.
    requestTimeout: 0,
    // While it closes, a kept connection may bring one more request, and our own codes answer it.
    return503OnClosing: false,
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH },
    clientErrorHandler: refuseUnreadable,
    frameworkErrors: (error, request, reply) => void answer(error, request, reply, options),
  }).withTypeProvider<TypeBoxTypeProvider>();
  app.server.maxConnections = options.limits.maxConnections;
  app.setValidatorCompiler(compileCheck);
  // Answers are made here, not checked here; a schema that forgets a member must not hide it.
  app.setSerializerCompiler(() => (value) => JSON.stringify(value));
  app.setErrorHandler((error, request, reply) => void answer(error, request, reply, options));
  app.setNotFoundHandler((request, reply) => {
    const fault = new Fault('ROUTE_UNKNOWN', `there is nothing at ${request.method} ${pathOf(request)}`);
    void answer(fault, request, reply, options);
  });
  const manners = new BodyManners();
  manners.attach(app);
  addMarks(app, options);
  void app.register(swagger, openApiOptions(options.version));
  void app.register(async (routes: App) => {
    addAboutRoutes(routes, options);
    await routes.register(async (guarded: App) => {
      guarded.addHook('onRequest', async (request) => {
        request.serverName = serverFrom(request.headers.authorization, options.serverOf);
      });
      // Apart from each other: one parses its bodies, and the other must not.
      await guarded.register(async (scripts: App) => addScriptRoutes(scripts, options, manners));
      await guarded.register(async (uploads: App) => addUploadRoutes(uploads, options, manners));
    });
  });
  return app;
}

/** Marks every request and answer, and tells how it went. */
function addMarks(app: App, { observe }: ApiOptions): void {
  app.decorateRequest('serverName', '');
  app.decorateRequest('failureCode', undefined);
  const tell = (request: FastifyRequest, status: number, seconds: number): void =>
    observe({
      type: 'request',
      id: request.id,
      method: request.method,
      route: request.routeOptions.url ?? 'unknown',
      status,
      seconds,
      server: request.serverName || undefined,
      ticket: ticketIn(request),
      code: request.failureCode,
    });
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({ ...HEADERS, 'x-request-id': request.id });
    reply.raw.once('close', () => {
      const status = reply.raw.writableEnded ? reply.statusCode : CLIENT_GONE;
      tell(request, status, reply.elapsedTime / 1000);
    });
  });
}

function answer(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  { observe }: ApiOptions,
): FastifyReply {
  const fault = faultOf(error, request.id);
  if (fault.code === 'AGENT_FAILED') {
    observe({ type: 'failure', id: request.id, route: request.routeOptions.url ?? 'unknown', error });
  }
  request.failureCode = fault.code;
  const { status, headers, body } = problemFor(fault, { requestId: request.id, ticket: ticketIn(request) });
  return reply
    .code(status)
    .headers({ ...HEADERS, 'x-request-id': request.id, ...headers })
    .send(JSON.stringify(body));
}

function pathOf(request: FastifyRequest): string {
  return (request.url.split('?', 1)[0] ?? '').slice(0, 200);
}

/** Answers what Node could not read as HTTP; there is no request yet, so the bytes are written by hand. */
function refuseUnreadable(error: Error, socket: Socket): void {
  if (!socket.writable) return void socket.destroy();
  const requestId = randomUUID();
  const fault = new Fault('REQUEST_INVALID', `the request cannot be read as HTTP: ${error.message}`);
  const { status, headers, body } = problemFor(fault, { requestId });
  const text = JSON.stringify(body);
  const all = { ...HEADERS, ...headers, 'content-length': Buffer.byteLength(text), connection: 'close' };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} Bad Request\r\n${lines.join('')}\r\n${text}`);
}
