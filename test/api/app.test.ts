import { Compile } from 'typebox/compile';
import t from 'tap';
import { ProblemAnswer } from '../../src/api/answer-schemas.ts';
import { buildApp } from '../../src/api/app.ts';
import { faultOf, invalidField, problemFor } from '../../src/api/problem.ts';
import { requestIdFrom, serverFrom } from '../../src/api/request-marks.ts';
import { FAILURES, type FailureCode } from '../../src/protocol/failure-table.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { eventually } from '../harness/eventually.ts';
import { call, LIMITS, madeApp, OTHER_TOKEN, TOKEN } from './made-app.ts';
import { RawConnection } from './raw-connection.ts';

const isProblem = Compile(ProblemAnswer);
const start = { body: { language: 'bash', body: 'echo' } };

t.test('every code of the failure table becomes a problem document of its own status', async (t) => {
  for (const code of Object.keys(FAILURES) as FailureCode[]) {
    const { status, retry, says } = FAILURES[code];
    const fault = new Fault(code, 'what could not be done', { detail: { code: 'OVERWRITTEN', more: 1 } });
    const { body, headers, status: answered } = problemFor(fault, { requestId: 'r1', ticket: 't1' });
    t.ok(isProblem.Check(body), code);
    t.match(body, {
      code,
      title: says,
      detail: 'what could not be done',
      type: `/v1/failures/${code}`,
      ticket: 't1',
      more: 1,
    });
    t.equal(answered, status ?? 500);
    t.match(headers, { 'content-type': 'application/problem+json', 'x-longshore-code': code });
    if (status === 429 || status === 503)
      t.equal(headers['retry-after'], retry === 'later' ? '5' : '30', code);
    else t.equal(headers['retry-after'], undefined, code);
  }
  const asked = new Fault('STORAGE_BUSY', 'x', { detail: { retryAfterSeconds: 9 } });
  t.equal(problemFor(asked, { requestId: 'r' }).headers['retry-after'], '9');
});

t.test('what is no Fault becomes one, and a bug shows nothing of itself', async (t) => {
  const bug = new TypeError('secret internals');
  t.match(faultOf(bug, 'r1'), { code: 'AGENT_FAILED', cause: bug, message: /request id r1/ });
  t.notMatch(faultOf(bug, 'r1').message, /secret/);
  t.match(faultOf('a string', 'r1'), { code: 'AGENT_FAILED' });
  t.match(faultOf(Object.assign(new Error('odd'), { statusCode: 431 }), 'r1'), { code: 'REQUEST_INVALID' });
  t.match(invalidField('/a', 'b'), { message: '/a must be b', detail: { field: '/a', rule: 'b' } });
});

t.test('a bug in a handler answers AGENT_FAILED and is told with its error', async (t) => {
  const { app, scripts, events } = await madeApp(t);
  scripts.trouble = new RangeError('a bug');
  t.match(await call(app, 'GET', '/v1/scripts/t1'), {
    status: 500,
    json: { code: 'AGENT_FAILED', retry: 'operator' },
  });
  t.match(events, [
    { type: 'failure', route: '/v1/scripts/:ticket', error: scripts.trouble },
    { type: 'request', status: 500, code: 'AGENT_FAILED', server: 'default', ticket: 't1' },
  ]);
});

t.test('every guarded call needs the token of a server', async (t) => {
  const { app } = await madeApp(t);
  const guarded = [
    ['PUT', '/v1/packages/a/1'],
    ['HEAD', '/v1/packages/a/1'],
    ['GET', '/v1/packages?id=a'],
    ['PUT', `/v1/blobs/sha256/${'0'.repeat(64)}`],
    ['HEAD', `/v1/blobs/sha256/${'0'.repeat(64)}`],
    ['PUT', '/v1/scripts/t1'],
    ['GET', '/v1/scripts/t1'],
    ['GET', '/v1/scripts/t1/journal'],
    ['POST', '/v1/scripts/t1/cancel'],
    ['DELETE', '/v1/scripts/t1'],
    ['GET', '/v1/scripts/t1/artifacts'],
    ['GET', '/v1/scripts/t1/artifacts/a'],
    ['GET', '/v1/capabilities'],
  ] as const;
  for (const [method, url] of guarded) {
    for (const authorization of ['', `Bearer ${TOKEN}x`, `Basic ${TOKEN}`, 'Bearer ']) {
      const answer = await call(app, method, url, { headers: { authorization } });
      t.match(answer, {
        status: 401,
        headers: { 'www-authenticate': 'Bearer', 'x-longshore-code': 'UNAUTHENTICATED' },
      });
    }
  }
  for (const url of ['/livez', '/readyz', '/v1/openapi.json', '/v1/failures']) {
    t.equal((await app.inject({ url })).statusCode, 200, url);
  }
  t.equal(
    serverFrom('bearer   abc ', (token) => `server of ${token}`),
    'server of abc',
  );
});

t.test('the answer to an unknown address, method or version of it is ROUTE_UNKNOWN', async (t) => {
  const { app } = await madeApp(t);
  for (const [method, url] of [
    ['GET', '/'],
    ['GET', '/v2/scripts/t1'],
    ['POST', '/v1/scripts/t1'],
    ['GET', '/v1/scripts/t1/'],
    ['GET', '/v1/failures/NOPE'],
  ] as const) {
    t.match(
      await call(app, method, url),
      { status: 404, json: { code: 'ROUTE_UNKNOWN' } },
      `${method} ${url}`,
    );
  }
  t.match(await call(app, 'GET', '/v1/scripts/%zz'), { status: 400, json: { code: 'REQUEST_INVALID' } });
});

t.test('a request id goes in and out; one that is not fit for a log is replaced', async (t) => {
  const { app } = await madeApp(t);
  for (const [given, kept] of [
    ['id-1', true],
    ['a b', false],
    ['x'.repeat(65), false],
    ['', false],
  ] as const) {
    const answer = await call(app, 'GET', '/v1/scripts/none', { headers: { 'x-request-id': given } });
    const { 'x-request-id': id } = answer.headers;
    t.equal(id === given, kept, given);
    t.equal(answer.json['requestId'], id);
  }
  t.equal(requestIdFrom(['a', 'b']), undefined);
});

t.test('every answer forbids caching and sniffing', async (t) => {
  const { app } = await madeApp(t);
  for (const url of ['/livez', '/v1/capabilities', '/nowhere', '/v1/%zz']) {
    t.match(
      (await call(app, 'GET', url)).headers,
      { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' },
      url,
    );
  }
});

t.test('bodies are JSON, UTF-8, bounded, and come in time', async (t) => {
  const { app, listen } = await madeApp(t);
  const put = (body: unknown, headers: Record<string, string> = { 'content-type': 'application/json' }) =>
    call(app, 'PUT', '/v1/scripts/t1', { body, headers });
  t.match(await put('{"language":'), { status: 400, json: { code: 'REQUEST_INVALID' } });
  t.match(await put(Buffer.from([0x22, 0xff, 0x22])), {
    status: 400,
    json: { detail: 'the body must be UTF-8' },
  });
  t.match(await put('{"__proto__":{"a":1}}'), { status: 400, json: { code: 'REQUEST_INVALID' } });
  t.match(await put(''), { status: 400, json: { field: 'the body', rule: 'of type object' } });
  t.match(await put('{}', { 'content-type': 'text/plain' }), {
    status: 415,
    json: { code: 'MEDIA_TYPE_UNSUPPORTED' },
  });
  t.match(await put('{}', {}), { status: 415 }, 'also without a media type');
  t.match(await put(`"${'x'.repeat(LIMITS.scriptBodyMaxBytes)}"`), {
    status: 413,
    json: { code: 'BODY_TOO_LARGE' },
  });

  const url = await listen();
  const authorization = `Bearer ${TOKEN}`;
  const headers = { authorization, 'content-type': 'application/json' };
  const slow = new RawConnection(t, url);
  slow.head('PUT /v1/scripts/t1', { ...headers, 'content-length': 100 });
  slow.socket.write('{"language"');
  await slow.until(/HTTP\/1.1 408 .*UPLOAD_TOO_SLOW/s);
  await slow.closed(5000);
  const endless = new RawConnection(t, url);
  endless.head('PUT /v1/scripts/t1', { ...headers, 'transfer-encoding': 'chunked' });
  const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
  for (let sent = 0; sent < LIMITS.scriptBodyMaxBytes + 0x20000; sent += 0x10000) endless.socket.write(chunk);
  await endless.until(/HTTP\/1.1 413 .*BODY_TOO_LARGE/s);
  const broken = new RawConnection(t, url);
  broken.head('PUT /v1/scripts/t1', { ...headers, 'content-length': 100 });
  broken.socket.end('{"language"');
  await broken.closed();
});

t.test('bytes that are no HTTP get a problem document too', async (t) => {
  const { listen } = await madeApp(t);
  const url = await listen();
  const garbage = new RawConnection(t, url);
  garbage.socket.write('GARBAGE\r\n\r\n');
  const [, length] = await garbage.until(
    /^HTTP\/1.1 400 Bad Request\r\n.*content-length: (\d+)\r\n.*\r\n\r\n\{.*"code":"REQUEST_INVALID".*\}$/s,
  );
  t.equal(Number(length), garbage.text.length - garbage.text.indexOf('\r\n\r\n') - 4);
  await garbage.closed();
  const long = new RawConnection(t, url);
  long.head(`GET /${'x'.repeat(20_000)}`, {});
  await long.until(/REQUEST_INVALID/);
});

t.test('an agent that has not found its state says so, and lives', async (t) => {
  const agent = (): never => {
    throw new Fault('AGENT_STARTING', 'the agent looks for its state');
  };
  const { app } = await madeApp(t, { agent, readiness: () => ({ ready: false, says: 'starting' }) });
  t.match(await call(app, 'GET', '/v1/scripts/t1'), {
    status: 503,
    json: { code: 'AGENT_STARTING' },
    headers: { 'retry-after': '5' },
  });
  t.match(await call(app, 'PUT', '/v1/scripts/t1', start), { status: 503, json: { code: 'AGENT_STARTING' } });
  t.match(await call(app, 'GET', '/livez'), { status: 200 });
  t.match(await call(app, 'GET', '/readyz'), { status: 503, json: { ready: false, says: 'starting' } });
  t.match(await call(app, 'GET', '/v1/capabilities'), { status: 200 });
});

t.test('a stopping agent refuses new work, and still answers for the old', async (t) => {
  const { app, stopping } = await madeApp(t);
  t.match(await call(app, 'PUT', '/v1/scripts/t1', start), { status: 200 });
  stopping.abort();
  for (const url of ['/v1/scripts/t2', '/v1/packages/a/1', `/v1/blobs/sha256/${'0'.repeat(64)}`]) {
    t.match(await call(app, 'PUT', url, start), {
      status: 503,
      json: { code: 'AGENT_STOPPING' },
      headers: { 'retry-after': '5' },
    });
  }
  t.match(await call(app, 'GET', '/v1/scripts/t1?wait=50'), { status: 200 });
  t.match(await call(app, 'POST', '/v1/scripts/t1/cancel'), { status: 202 });
});

t.test('capabilities and the OpenAPI document say what the routes do', async (t) => {
  const { app } = await madeApp(t);
  t.match((await call(app, 'GET', '/v1/capabilities')).json, {
    versions: { agent: '1.2.3', http: 1 },
    languages: ['bash'],
    storage: ['shared'],
    limits: { maxWaitSeconds: 60, inlineBytes: 2 ** 20 },
  });
  const { json } = await call(app, 'GET', '/v1/openapi.json');
  t.match(json, { openapi: '3.1.0', info: { version: '1.2.3' } });
  const paths = json['paths'] as Record<string, Record<string, { security?: object; summary?: string }>>;
  t.same(
    Object.keys(paths)
      .filter((path) => path.startsWith('/v1/s'))
      .sort(),
    [
      '/v1/scripts/{ticket}',
      '/v1/scripts/{ticket}/artifacts',
      '/v1/scripts/{ticket}/artifacts/{name}',
      '/v1/scripts/{ticket}/cancel',
      '/v1/scripts/{ticket}/journal',
    ],
  );
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, { summary }] of Object.entries(methods))
      t.ok(summary, `${method} ${path} has a summary`);
  }
  t.match((await call(app, 'GET', '/v1/failures/STORAGE_FULL')).json, { code: 'STORAGE_FULL', status: 507 });
});

t.test('a client that goes away is told as 499, and its connection is not kept', async (t) => {
  const { listen, events, scripts, app } = await madeApp(t);
  await call(app, 'PUT', '/v1/scripts/t1', start);
  const gone = new RawConnection(t, await listen());
  gone.head('GET /v1/scripts/t1?wait=60', { authorization: `Bearer ${TOKEN}` });
  await eventually(() => scripts.calls.at(-1) === 'status' && scripts.calls.length > 2);
  gone.socket.destroy();
  await eventually(() => events.some((event) => event.type === 'request' && event.status === 499));
  await eventually(() => scripts.calls.includes('status ended'));
});

t.test('a ticket belongs to the server that made it; others get 404', async (t) => {
  const { app } = await madeApp(t);
  await call(app, 'PUT', '/v1/scripts/t1', start);
  const headers = { authorization: `Bearer ${OTHER_TOKEN}` };
  t.match(await call(app, 'GET', '/v1/scripts/t1', { headers }), {
    status: 404,
    json: { code: 'TICKET_UNKNOWN', ticket: 't1' },
  });
});

t.test('buildApp() listens to nothing by itself', async (t) => {
  t.type(buildApp, 'function');
  const { app } = await madeApp(t);
  t.equal(app.server.listening, false);
  t.equal(app.server.maxConnections, LIMITS.maxConnections);
  t.equal(app.server.requestTimeout, 0, 'a slow upload of many GB is no fault');
});
