/** Calls of the API server, against a real HTTPS server that does what real ones do on bad days. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { pathFor, type ApiCall, type ApiEvent } from '../../../src/executors/kubernetes/api-call.ts';
import { ApiRefusal } from '../../../src/executors/kubernetes/api-error.ts';
import { KubeConnection, type ConnectionOptions } from '../../../src/executors/kubernetes/connection.ts';
import { Fault } from '../../../src/protocol/fault.ts';
import { eventually } from '../../harness/eventually.ts';
import { FakeApiServer, type Exchange } from '../../harness/fake-api-server.ts';
import { TEST_PAIRS } from '../../harness/test-certificates.ts';

type Test = { teardown: (work: () => unknown) => void };
type RequestEvent = ApiEvent & { type: 'request' };

const LIST: ApiCall = { verb: 'list', resource: 'pods', path: pathFor('team', 'pods') };
const WATCH: ApiCall = { verb: 'watch', resource: 'pods', path: LIST.path, query: { watch: '1' } };
const CREATE: ApiCall = { verb: 'create', resource: 'pods', path: LIST.path, body: { kind: 'Pod' } };

const FORBIDDEN =
  'pods is forbidden: User "system:serviceaccount:team:agent" cannot list resource "pods" in API group "" in the namespace "team"';
const QUOTA = 'pods "y" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0';
const SECURITY =
  'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false';

interface Setting {
  readonly server: FakeApiServer;
  readonly connection: KubeConnection;
  readonly events: RequestEvent[];
}

async function setting(
  t: Test,
  options: (server: FakeApiServer) => Partial<ConnectionOptions> = (server) => ({
    kubeconfig: server.kubeconfig({ token: 'secret' }),
  }),
): Promise<Setting> {
  const server = await FakeApiServer.start(t);
  const events: RequestEvent[] = [];
  const connection = await KubeConnection.open({
    requestDeadlineMs: 5000,
    observe: (event) => event.type === 'request' && events.push(event),
    ...options(server),
  });
  t.teardown(() => connection.close());
  return { server, connection, events };
}

async function failure(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => new Error('it did not fail'),
    (error: unknown) => error,
  );
}

/** What all errors below say, down to the errno. */
function codesOf(error: unknown): string {
  const inner = error instanceof AggregateError ? error.errors.map(codesOf).join() : '';
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return error instanceof Error ? `${code} ${inner} ${codesOf(error.cause)}` : '';
}

/** Answers one after the other; the last one again and again. */
function inTurn(...answers: ((exchange: Exchange) => void)[]): (exchange: Exchange) => void {
  return (exchange) => (answers.length > 1 ? answers.shift() : answers[0])?.(exchange);
}

const fine = (exchange: Exchange): void => exchange.json(200, { fine: true });

test('request() sends a call as HTTP, with the credentials, and returns the object of the answer', async (t) => {
  const { server, connection, events } = await setting(t);
  server.answer = fine;
  t.equal(connection.namespace, 'team');
  t.same(await connection.request({ ...LIST, query: { labelSelector: 'a=b,c' } }), { fine: true });
  await connection.request(CREATE);
  const patch = {
    verb: 'patch',
    resource: 'pods',
    path: pathFor('team', 'pods', 'p'),
    body: { spec: 1 },
  } as const;
  await connection.request(patch);
  await connection.request({ ...patch, contentType: 'application/json-patch+json' });
  await connection.request({ verb: 'delete', resource: 'pods', path: pathFor('team', 'pods', 'p') });
  t.same(
    server.calls.map(({ method, path, query, body, headers }) => [
      method,
      path,
      query,
      body,
      headers['content-type'],
    ]),
    [
      ['GET', '/api/v1/namespaces/team/pods', { labelSelector: 'a=b,c' }, undefined, undefined],
      ['POST', '/api/v1/namespaces/team/pods', {}, { kind: 'Pod' }, 'application/json'],
      ['PATCH', '/api/v1/namespaces/team/pods/p', {}, { spec: 1 }, 'application/merge-patch+json'],
      ['PATCH', '/api/v1/namespaces/team/pods/p', {}, { spec: 1 }, 'application/json-patch+json'],
      ['DELETE', '/api/v1/namespaces/team/pods/p', {}, undefined, undefined],
    ],
  );
  t.equal(server.calls[0]?.headers.authorization, 'Bearer secret');
  t.same(
    events.slice(0, 2).map(({ verb, resource, code, seconds }) => [verb, resource, code, seconds >= 0]),
    [
      ['list', 'pods', 200, true],
      ['create', 'pods', 200, true],
    ],
  );
});

test('request() makes no call that is not in the list of permissions, or whose path is another resource', async (t) => {
  const { server, connection } = await setting(t);
  const secrets = { verb: 'list', resource: 'secrets', path: pathFor('team', 'secrets') } as const;
  t.match(await failure(connection.request(secrets)), { name: 'TypeError', message: /list of secrets/ });
  const signal = new AbortController().signal;
  t.match(await failure(connection.stream(secrets, { signal, connectDeadlineMs: 1 })), { name: 'TypeError' });
  t.match(await failure(connection.request({ ...LIST, path: secrets.path })), { name: 'TypeError' });
  t.equal(server.calls.length, 0);
});

test('pathFor() names resources, objects and parts of objects, and lets no name leave its place', async (t) => {
  t.equal(pathFor('n', 'pods/log', 'a'), '/api/v1/namespaces/n/pods/a/log');
  t.equal(pathFor('n', 'pods', '../../secrets'), '/api/v1/namespaces/n/pods/..%2F..%2Fsecrets');
  t.throws(() => pathFor('n', 'pods/log'), TypeError);
});

test('request() gives a refusal as the server worded it: conflict, quota, pod security', async (t) => {
  const { server, connection } = await setting(t);
  for (const [code, reason, message] of [
    [409, 'AlreadyExists', 'pods "x" already exists'],
    [404, 'NotFound', 'pods "x" not found'],
    [403, 'Forbidden', QUOTA],
    [403, 'Forbidden', SECURITY],
    [422, 'Invalid', 'Pod "x" is invalid: spec.containers: Required value'],
  ] as const) {
    server.answer = (exchange) => exchange.refuse(code, reason, message);
    const error = await failure(connection.request(CREATE));
    t.ok(error instanceof ApiRefusal);
    t.match(error, { status: code, reason, message });
  }
  server.answer = (exchange) => exchange.text(418, 'a page of a proxy');
  t.match(await failure(connection.request(CREATE)), {
    status: 418,
    reason: '',
    message: 'a page of a proxy',
  });
});

test('CLUSTER_FORBIDDEN names verb and resource when an authorizer refuses', async (t) => {
  const { server, connection } = await setting(t);
  server.answer = (exchange) => exchange.refuse(403, 'Forbidden', FORBIDDEN);
  const error = await failure(connection.request(LIST));
  t.ok(error instanceof Fault);
  t.match(error, {
    code: 'CLUSTER_FORBIDDEN',
    detail: { verb: 'list', resource: 'pods', status: 403, evidence: FORBIDDEN },
    cause: ApiRefusal,
  });
});

test('CLUSTER_FORBIDDEN is said of a token that is not known, after it was read once more', async (t) => {
  const { server, connection, events } = await setting(t);
  server.answer = (exchange) => exchange.refuse(401, 'Unauthorized', 'Unauthorized');
  t.match(await failure(connection.request(LIST)), { code: 'CLUSTER_FORBIDDEN', detail: { status: 401 } });
  t.same(
    events.map(({ code }) => code),
    [401, 401],
  );
});

test('request() reads a rotated token at once when the old one is refused', async (t) => {
  const { server, connection } = await setting(t, (server) => ({
    apiServer: server.url,
    serviceAccountFolder: server.serviceAccount('old'),
  }));
  server.answer = (exchange) =>
    exchange.call.headers.authorization === 'Bearer new'
      ? fine(exchange)
      : exchange.refuse(401, 'Unauthorized', 'no');
  t.match(await failure(connection.request(LIST)), { code: 'CLUSTER_FORBIDDEN' });
  server.serviceAccount('new\n');
  t.same(await connection.request(LIST), { fine: true });
  t.equal(connection.namespace, 'team');
});

test('request() and stream() trust a rotated CA without a restart', async (t) => {
  const { server, connection } = await setting(t, (server) => ({
    apiServer: server.url,
    serviceAccountFolder: server.serviceAccount('token'),
  }));
  server.answer = fine;
  await connection.request(LIST);
  await server.stop();
  await server.listen(TEST_PAIRS.second);
  const unknown = await failure(connection.request(LIST, { deadlineMs: 300 }));
  t.match(unknown, { code: 'CLUSTER_UNREACHABLE', detail: { evidence: /self-signed/ } });
  t.match(codesOf(unknown), /DEPTH_ZERO_SELF_SIGNED_CERT/);
  server.serviceAccount('token', TEST_PAIRS.second);
  t.same(await connection.request(LIST), { fine: true });
});

test('open() uses what a kubeconfig says: certificate, password, context, path of the server', async (t) => {
  const { key, cert } = TEST_PAIRS.client;
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const { server, connection } = await setting(t, (server) => ({
    kubeconfig: server.kubeconfig(
      {
        'client-key-data': base64(key),
        'client-certificate-data': base64(cert),
        username: 'u',
        password: 'p',
      },
      { server: `${server.url}/clusters/one/` },
    ),
    context: 'other',
  }));
  server.answer = fine;
  await connection.request(LIST);
  t.match(server.calls[0], {
    client: 'agent',
    path: '/clusters/one/api/v1/namespaces/team/pods',
    headers: { authorization: `Basic ${base64('u:p')}` },
  });
  t.equal(connection.namespace, 'elsewhere');
});

test('CONFIG_INVALID is said of credentials that are missing, broken, or of a kind that is not supported', async (t) => {
  const server = await FakeApiServer.start(t);
  const open = (options: Partial<ConnectionOptions>): Promise<unknown> =>
    failure(KubeConnection.open({ requestDeadlineMs: 1000, observe: () => undefined, ...options }));
  const broken = join(server.folder, 'broken');
  writeFileSync(broken, '{');
  for (const options of [
    { kubeconfig: join(server.folder, 'absent') },
    { kubeconfig: broken },
    { kubeconfig: server.kubeconfig(), context: 'no such context' },
    { kubeconfig: server.kubeconfig({}, { 'proxy-url': 'http://proxy' }) },
    { serviceAccountFolder: join(server.folder, 'absent') },
  ])
    t.match(await open(options), { code: 'CONFIG_INVALID' }, JSON.stringify(options));
});

test('request() tries again what passes: 429 after the time that was asked for, 5xx, a cut answer, half a JSON', async (t) => {
  const { server, connection, events } = await setting(t);
  server.answer = inTurn(
    (exchange) => exchange.refuse(429, 'TooManyRequests', 'slow down', { 'retry-after': '1' }),
    (exchange) => exchange.refuse(500, 'InternalError', 'etcdserver: leader changed'),
    (exchange) => {
      exchange.begin();
      void exchange.write('{"fine":').then(() => exchange.reset());
    },
    (exchange) => exchange.text(200, '{"fine":'),
    fine,
  );
  const beganAt = performance.now();
  t.same(await connection.request(LIST), { fine: true });
  t.ok(performance.now() - beganAt >= 1000, 'it waited as long as it was told');
  t.same(
    events.map(({ code }) => code),
    [429, 500, 200, 200, 200],
  );
});

test('request() gives the last refusal when it goes on, and at once when the wait would outlast the deadline', async (t) => {
  const { server, connection, events } = await setting(t);
  server.answer = (exchange) => exchange.refuse(503, 'ServiceUnavailable', 'starting');
  t.match(await failure(connection.request(LIST)), { status: 503, message: 'starting' });
  t.equal(events.length, 5);
  server.answer = (exchange) => exchange.refuse(429, 'TooManyRequests', 'slow', { 'retry-after': '60' });
  t.match(await failure(connection.request(LIST)), { status: 429, retryAfterMs: 60_000 });
  t.equal(events.length, 6);
});

test('CLUSTER_UNREACHABLE comes at the deadline from a server that never answers', async (t) => {
  const { server, connection, events } = await setting(t);
  server.answer = () => undefined;
  const beganAt = performance.now();
  const error = await failure(connection.request(LIST, { deadlineMs: 200 }));
  t.match(error, {
    code: 'CLUSTER_UNREACHABLE',
    detail: { verb: 'list', resource: 'pods', evidence: /200 ms/ },
  });
  t.ok(performance.now() - beganAt < 4000);
  await eventually(() => events.length === 1);
  t.equal(events[0]?.code, 'timeout');
});

test('CLUSTER_UNREACHABLE keeps the errno of a server that is down, and of one that resets', async (t) => {
  const { server, connection, events } = await setting(t);
  server.answer = (exchange) => exchange.reset();
  t.match(await failure(connection.request(LIST)), { code: 'CLUSTER_UNREACHABLE', cause: Error });
  t.same([...new Set(events.map(({ code }) => code))], ['unreachable']);
  await server.stop();
  t.match(codesOf(await failure(connection.request(LIST))), /ECONNREFUSED/);
});

test('request() outlives a server that is killed and comes back within the deadline', async (t) => {
  const { server, connection } = await setting(t);
  server.answer = () => undefined;
  const call = connection.request(LIST);
  await eventually(() => server.calls.length === 1);
  await server.stop();
  server.answer = fine;
  await server.listen();
  t.same(await call, { fine: true });
});

test('request() ends at once when its caller does, and that is no answer of the server', async (t) => {
  const { server, connection, events } = await setting(t);
  server.answer = () => undefined;
  const stopping = new AbortController();
  const call = failure(connection.request(LIST, { signal: stopping.signal }));
  await eventually(() => server.calls.length === 1);
  stopping.abort(new Error('the agent stops'));
  t.match(await call, { message: 'the agent stops' });
  t.match(await failure(connection.request(LIST, { signal: stopping.signal })), {
    message: 'the agent stops',
  });
  t.same(events, []);
});

test('stream() gives the parts of an answer as they come, and ends when its signal does', async (t) => {
  const { server, connection, events } = await setting(t);
  const exchanges: Exchange[] = [];
  server.answer = (exchange) => {
    exchanges.push(exchange);
    exchange.begin();
  };
  const ending = new AbortController();
  const { status, body } = await connection.stream(WATCH, { signal: ending.signal, connectDeadlineMs: 5000 });
  t.equal(status, 200);
  t.equal(events[0]?.code, 200);
  const parts = body[Symbol.asyncIterator]();
  await exchanges[0]?.write('one');
  t.equal(String((await parts.next()).value), 'one');
  const next = failure(parts.next());
  ending.abort(new Error('enough'));
  t.match(await next, Error);
  await eventually(() => exchanges[0]?.isOver === true);
});

test('stream() refuses, times out and loses its server as a call does, but tries only once', async (t) => {
  const { server, connection, events } = await setting(t);
  const signal = new AbortController().signal;
  const open = (connectDeadlineMs: number): Promise<unknown> =>
    failure(connection.stream(WATCH, { signal, connectDeadlineMs }));
  server.answer = (exchange) => exchange.refuse(410, 'Expired', 'too old resource version');
  t.match(await open(5000), { status: 410, reason: 'Expired' });
  server.answer = (exchange) => exchange.refuse(403, 'Forbidden', FORBIDDEN.replace('list', 'watch'));
  t.match(await open(5000), { code: 'CLUSTER_FORBIDDEN' });
  server.answer = () => undefined;
  t.match(await open(100), { code: 'CLUSTER_UNREACHABLE' });
  await server.stop();
  t.match(await open(5000), { code: 'CLUSTER_UNREACHABLE' });
  t.same(
    events.map(({ code }) => code),
    [410, 403, 'timeout', 'unreachable'],
  );
});

test('stream() that is reset while nobody reads it ends nothing but itself', async (t) => {
  const { server, connection } = await setting(t);
  const exchanges: Exchange[] = [];
  server.answer = (exchange) => {
    exchanges.push(exchange);
    exchange.begin();
  };
  const signal = new AbortController().signal;
  const { body } = await connection.stream(WATCH, { signal, connectDeadlineMs: 5000 });
  exchanges[0]?.reset();
  server.answer = fine;
  // By the time of another answer the reset has arrived too.
  await connection.request(LIST);
  await eventually(() => exchanges[0]?.isOver === true);
  t.match(await failure(body[Symbol.asyncIterator]().next()), Error);
});

test('close() ends calls and streams that are on their way, those with certificates of yesterday too', async (t) => {
  const { server, connection } = await setting(t, (server) => ({
    apiServer: server.url,
    serviceAccountFolder: server.serviceAccount('token'),
  }));
  server.answer = inTurn(
    (exchange) => exchange.begin(),
    (exchange) => exchange.refuse(401, 'Unauthorized', 'read your credentials again'),
    () => undefined,
  );
  const signal = new AbortController().signal;
  const { body } = await connection.stream(WATCH, { signal, connectDeadlineMs: 5000 });
  const read = failure(body[Symbol.asyncIterator]().next());
  writeFileSync(join(server.folder, 'ca.crt'), TEST_PAIRS.first.cert + TEST_PAIRS.second.cert);
  const call = failure(connection.request(LIST));
  await eventually(() => server.calls.length === 3);
  await connection.close();
  t.match(await read, Error);
  t.match(await call, { code: 'CLUSTER_UNREACHABLE' });
  t.match(await failure(connection.request(LIST)), { code: 'CLUSTER_UNREACHABLE' });
  t.equal(server.calls.length, 3);
});
