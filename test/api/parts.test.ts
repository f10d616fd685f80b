/** The parts of the interface that the routes put together, each by itself. */
import { EventEmitter } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import t from 'tap';
import { addAboutRoutes } from '../../src/api/about-routes.ts';
import type { ApiOptions } from '../../src/api/agent-view.ts';
import type { App } from '../../src/api/typed-app.ts';
import { sendArtifact } from '../../src/api/artifact-stream.ts';
import { BodyManners } from '../../src/api/body-manners.ts';
import { intakeGuard } from '../../src/api/intake-guard.ts';
import { readText } from '../../src/api/json-body.ts';
import { streamJournal } from '../../src/api/journal-stream.ts';
import { openApiOptions } from '../../src/api/open-api.ts';
import { addScriptRoutes } from '../../src/api/script-routes.ts';
import { addUploadRoutes } from '../../src/api/upload-routes.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { parseTicket } from '../../src/protocol/ticket.ts';
import { LIMITS, madeMount } from './made-app.ts';

const options: ApiOptions = {
  agent: () => {
    throw new Fault('AGENT_STARTING', 'not yet');
  },
  serverOf: () => undefined,
  limits: LIMITS,
  mount: () => madeMount(),
  readiness: () => ({ ready: false, says: 'not yet' }),
  stopping: new AbortController().signal,
  version: '1.2.3',
  observe: () => undefined,
};

const bounds = { maxBytes: 10, timeoutMs: 60_000, announcedBytes: undefined };

t.test('readText() reads a body to its end, in whatever pieces it comes', async (t) => {
  const euro = Buffer.from('€');
  t.equal(await readText(Readable.from([euro.subarray(0, 1), euro.subarray(1)]), bounds), '€');
  t.equal(await readText(Readable.from([]), bounds), '');
});

t.test('readText() refuses what is too large, before it is read where that was announced', async (t) => {
  const untouched = Readable.from([Buffer.from('x')]);
  await t.rejects(readText(untouched, { ...bounds, announcedBytes: 11 }), { code: 'BODY_TOO_LARGE' });
  t.equal(untouched.readableFlowing, null);
  await t.rejects(readText(Readable.from([Buffer.alloc(11)]), bounds), { code: 'BODY_TOO_LARGE' });
});

t.test('readText() tells a body that breaks off, stalls, or is no text', async (t) => {
  const broken = new PassThrough();
  const reading = readText(broken, bounds);
  broken.destroy(new Error('reset'));
  await t.rejects(reading, { code: 'UPLOAD_INCOMPLETE', cause: { message: 'reset' } });
  const closed = new PassThrough();
  const waiting = readText(closed, bounds);
  closed.destroy();
  await t.rejects(waiting, { code: 'UPLOAD_INCOMPLETE' });
  await t.rejects(readText(new PassThrough(), { ...bounds, timeoutMs: 1 }), { code: 'UPLOAD_TOO_SLOW' });
  await t.rejects(readText(Readable.from([Buffer.from([0xc3])]), bounds), {
    code: 'REQUEST_INVALID',
    message: /UTF-8/,
  });
});

t.test('intakeGuard() lets work in until the agent stops', async (t) => {
  const stopping = new AbortController();
  const guard = intakeGuard({ stopping: stopping.signal });
  await guard();
  stopping.abort();
  await t.rejects(guard(), { code: 'AGENT_STOPPING' });
});

t.test('sendArtifact() closes its file after an error of the volume, and after one of closing', async (t) => {
  for (const closing of [Promise.resolve(), Promise.reject(new Fault('STORAGE_ERROR', 'close'))]) {
    closing.catch(() => undefined);
    let sent: Readable | undefined;
    const reply = { headers: () => reply, send: (stream: Readable) => ((sent = stream), reply) };
    let closed = 0;
    const file = {
      readAt: () => Promise.reject(new Fault('STORAGE_STALE', 'read')),
      close: () => ((closed += 1), closing),
    };
    // As much of a reply as is used.
    await sendArtifact(reply as unknown as FastifyReply, 'a', { size: 5, file });
    const reading = sent?.toArray().then(() => undefined) ?? Promise.resolve();
    await t.rejects(reading, { code: 'STORAGE_STALE' });
    t.equal(closed, 1);
  }
});

t.test('streamJournal() fails as an ordinary call before its first event', async (t) => {
  const ticket = parseTicket('t1');
  if (ticket === undefined) throw new TypeError('t1 is a ticket');
  const reply = { raw: new EventEmitter() } as unknown as FastifyReply;
  const request = { serverName: 'default', id: 'r1' } as unknown as FastifyRequest;
  const journal = { request, reply, ticket, after: { script: 0, agent: 0 } };
  await t.rejects(streamJournal(options, journal), { code: 'AGENT_STARTING' });
});

t.test('each family of routes can be added by itself', async (t) => {
  const bare = (): App => fastify().withTypeProvider();
  const about = bare();
  addAboutRoutes(about, options);
  t.ok(about.hasRoute({ method: 'GET', url: '/livez' }));
  const scripts = bare();
  addScriptRoutes(scripts, options, new BodyManners());
  t.ok(scripts.hasRoute({ method: 'PUT', url: '/v1/scripts/:ticket' }));
  const uploads = bare();
  addUploadRoutes(uploads, options, new BodyManners());
  t.ok(uploads.hasRoute({ method: 'PUT', url: '/v1/packages/:id/:version' }));
  t.match(openApiOptions('1.2.3'), { openapi: { openapi: '3.1.0', info: { version: '1.2.3' } } });
});
