import { Compile } from 'typebox/compile';
import t from 'tap';
import { ArtifactsAnswer, StatusAnswer } from '../../src/api/answer-schemas.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { eventually } from '../harness/eventually.ts';
import { call, madeApp, TOKEN, type MadeApp } from './made-app.ts';
import { RawConnection } from './raw-connection.ts';

const start = { body: { language: 'bash', body: 'echo', labels: { project: 'demo' } } };
const isStatus = Compile(StatusAnswer);
const isArtifacts = Compile(ArtifactsAnswer);
const authorization = `Bearer ${TOKEN}`;

async function started(t: { teardown: (work: () => unknown) => void }): Promise<MadeApp> {
  const made = await madeApp(t);
  await call(made.app, 'PUT', '/v1/scripts/t1', start);
  return made;
}

interface SentEvent {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: unknown;
}

/** The events of a stream, as a browser reads them. */
function eventsIn(text: string): SentEvent[] {
  return text.split('\n\n').flatMap((block) => {
    const fields = new Map(
      block.split('\n').map((line) => [line.split(': ', 1)[0], line.slice(line.indexOf(': ') + 2)]),
    );
    const event = fields.get('event');
    return event === undefined
      ? []
      : [{ event, id: fields.get('id'), data: JSON.parse(fields.get('data') ?? '') as unknown }];
  });
}

/** Takes the chunked coding off a body that came through a socket, as far as it has come. */
function unchunked(text: string): string {
  const body = text.slice(text.indexOf('\r\n\r\n') + 4);
  return body.replace(/(^|\r\n)[0-9a-f]+\r\n/g, '');
}

t.test('the life of a script: start, status, cancel, complete', async (t) => {
  const { app, scripts } = await madeApp(t);
  const first = await call(app, 'PUT', '/v1/scripts/t1', start);
  t.match(first, {
    status: 200,
    headers: { location: '/v1/scripts/t1' },
    json: { state: 'published', labels: { project: 'demo' } },
  });
  t.match(await call(app, 'PUT', '/v1/scripts/t1', start), { status: 200, json: { ticket: 't1' } });
  t.match(await call(app, 'PUT', '/v1/scripts/t1', { body: { language: 'bash', body: 'other' } }), {
    status: 409,
    json: { code: 'TICKET_CONFLICT' },
  });
  scripts.write('t1', 'published', 'agent');
  scripts.write('t1', 'hello');
  const status = await call(app, 'GET', '/v1/scripts/t1');
  t.match(status, {
    status: 200,
    json: { journal: { next: 's1.a1', lines: [{ text: 'published' }, { text: 'hello' }] } },
  });
  t.ok(isStatus.Check(status.json));
  t.match((await call(app, 'GET', '/v1/scripts/t1?after=s1.a0')).json, {
    journal: { next: 's1.a1', lines: [{ id: 'a1' }] },
  });
  t.match(await call(app, 'DELETE', '/v1/scripts/t1'), {
    status: 409,
    json: { code: 'SCRIPT_UNFINISHED', ticket: 't1' },
  });
  const cancelled = await call(app, 'POST', '/v1/scripts/t1/cancel?after=s1.a1');
  t.match(cancelled, {
    status: 202,
    json: { state: 'finished', outcome: { code: 'SCRIPT_CANCELLED' }, journal: { lines: [] } },
  });
  t.ok(isStatus.Check(cancelled.json));
  t.match(await call(app, 'DELETE', '/v1/scripts/t1'), { status: 204, text: '' });
  t.match(await call(app, 'GET', '/v1/scripts/t1'), { status: 404, json: { code: 'TICKET_UNKNOWN' } });
});

t.test('calls without a body take a media type with nothing behind it', async (t) => {
  const { app } = await started(t);
  const headers = { 'content-type': 'application/json' };
  t.equal((await call(app, 'POST', '/v1/scripts/t1/cancel', { headers })).status, 202);
  t.equal((await call(app, 'DELETE', '/v1/scripts/t1', { headers })).status, 204);
});

t.test('tickets, cursors and waits that break their rules are refused', async (t) => {
  const { app } = await started(t);
  for (const ticket of ['-a', 'a%2Fb', 'a%00', 'x'.repeat(129), '%C3%BC', 'a%20b']) {
    for (const [method, path] of [
      ['PUT', ''],
      ['GET', ''],
      ['GET', '/journal'],
      ['POST', '/cancel'],
      ['DELETE', ''],
      ['GET', '/artifacts'],
      ['GET', '/artifacts/a'],
    ] as const) {
      const answer = await call(app, method, `/v1/scripts/${ticket}${path}`, method === 'PUT' ? start : {});
      t.match(
        answer,
        { status: 400, json: { code: 'TICKET_INVALID', field: ':ticket' } },
        `${method} ${ticket}${path}`,
      );
      t.notOk('ticket' in answer.json);
    }
  }
  for (const [path, field] of [
    ['?after=s1', '?after'],
    ['?after=s1.a01', '?after'],
    ['/journal?after=x', '?after'],
  ] as const) {
    t.match(
      await call(app, 'GET', `/v1/scripts/t1${path}`),
      { status: 400, json: { code: 'CURSOR_INVALID', field } },
      path,
    );
  }
  const headers = { 'last-event-id': 'x' };
  t.match(await call(app, 'GET', '/v1/scripts/t1/journal', { headers }), {
    status: 400,
    json: { code: 'CURSOR_INVALID', field: 'header last-event-id' },
  });
  for (const wait of ['61', '-1', 'x', '', '1e1', '1.0001', 'Infinity']) {
    t.match(
      await call(app, 'GET', `/v1/scripts/t1?wait=${wait}`),
      { status: 400, json: { code: 'REQUEST_INVALID', field: '?wait' } },
      wait,
    );
  }
  t.match(await call(app, 'GET', '/v1/scripts/t1?wait=0.001'), { status: 200 });
  t.match(await call(app, 'GET', '/v1/scripts/t1?wait=1&wait=2'), { status: 400, json: { field: '?wait' } });
  t.match(await call(app, 'GET', '/v1/scripts/t1?aftr=s0.a0'), { status: 400, json: { field: '?aftr' } });
});

t.test("a long-poll is answered by news, by the end of its wait, and by the agent's stop", async (t) => {
  const { app, scripts, stopping } = await started(t);
  const waiting = call(app, 'GET', '/v1/scripts/t1?wait=60');
  await eventually(() => scripts.calls.length === 3);
  scripts.write('t1', 'news');
  t.match((await waiting).json, { journal: { lines: [{ text: 'news' }] } });
  t.match((await call(app, 'GET', '/v1/scripts/t1?after=s1.a0&wait=0.05')).json, { journal: { lines: [] } });
  const last = call(app, 'GET', '/v1/scripts/t1?after=s1.a0&wait=60');
  await eventually(() => scripts.calls.length === 7);
  stopping.abort();
  t.match(await last, { status: 200, json: { journal: { next: 's1.a0', lines: [] } } });
});

t.test('the journal streams as events and ends after the outcome', async (t) => {
  const { scripts, listen } = await started(t);
  scripts.write('t1', 'one');
  const connection = new RawConnection(t, await listen());
  connection.head('GET /v1/scripts/t1/journal', { authorization });
  await connection.until(/^HTTP\/1.1 200 .*content-type: text\/event-stream.*"one"/s);
  scripts.write('t1', 'agent says', 'agent');
  await connection.until(/agent says/);
  scripts.move('t1', 'running');
  await connection.until(/"running"/);
  scripts.write('t1', 'two');
  scripts.finish('t1');
  await connection.until(/event: outcome.*\r\n0\r\n\r\n$/s);
  t.match(eventsIn(unchunked(connection.text)), [
    { event: 'state', data: { state: 'published' } },
    { event: 'line', id: 's1.a0', data: { text: 'one' } },
    { event: 'line', id: 's1.a1', data: { text: 'agent says' } },
    { event: 'state', data: { state: 'running' } },
    { event: 'state', data: { state: 'finished' } },
    { event: 'line', id: 's2.a1', data: { text: 'two' } },
    { event: 'outcome', id: undefined, data: { code: 'SUCCEEDED' } },
  ]);
});

t.test('any id of the stream goes on behind its line, nothing lost or doubled (invariant 5)', async (t) => {
  const { app, scripts } = await started(t);
  for (let line = 1; line <= 10; line += 1)
    scripts.write('t1', `line ${line}`, line % 3 ? 'stdout' : 'agent');
  scripts.finish('t1');
  const lines = async (headers: Record<string, string>, query = ''): Promise<SentEvent[]> =>
    eventsIn((await call(app, 'GET', `/v1/scripts/t1/journal${query}`, { headers })).text).filter(
      ({ event }) => event === 'line',
    );
  const all = await lines({});
  t.equal(all.length, 10);
  for (const [index, { id = '' }] of all.entries()) {
    t.same(await lines({ 'last-event-id': id }), all.slice(index + 1));
    t.same(await lines({}, `?after=${id}`), all.slice(index + 1));
  }
});

t.test(
  'a stream of a script that is unknown is a problem document, and later trouble an event',
  async (t) => {
    const { app, scripts, listen } = await started(t);
    t.match(await call(app, 'GET', '/v1/scripts/none/journal'), {
      status: 404,
      json: { code: 'TICKET_UNKNOWN' },
    });
    const connection = new RawConnection(t, await listen());
    connection.head('GET /v1/scripts/t1/journal', { authorization });
    await connection.until(/"published"/);
    await eventually(() => scripts.calls.at(-1) === 'status');
    scripts.trouble = new Fault('STORAGE_TIMEOUT', 'the volume did not answer');
    scripts.write('t1', 'never shown');
    await connection.until(/event: problem.*\r\n0\r\n\r\n$/s);
    t.match(eventsIn(unchunked(connection.text)).at(-1), {
      event: 'problem',
      data: { code: 'STORAGE_TIMEOUT', ticket: 't1', status: 503 },
    });
  },
);

t.test('a stream ends when the agent stops, and asks nothing more when its client is gone', async (t) => {
  const { scripts, listen, stopping, events } = await started(t);
  const url = await listen();
  const gone = new RawConnection(t, url);
  gone.head('GET /v1/scripts/t1/journal', { authorization });
  await gone.until(/"published"/);
  gone.socket.destroy();
  await eventually(() => scripts.calls.includes('status ended'));
  await eventually(() => events.some((event) => event.type === 'request' && event.status === 499));
  const stopped = new RawConnection(t, url);
  stopped.head('GET /v1/scripts/t1/journal', { authorization });
  await stopped.until(/"published"/);
  stopping.abort();
  await stopped.until(/\r\n0\r\n\r\n$/);
  t.notMatch(stopped.text, /outcome/);
});

t.test('artifacts are listed and sent whole, under names with slashes too', async (t) => {
  const { app, scripts, listen } = await started(t);
  const bytes = Buffer.alloc(700_000, 'x');
  const artifacts = scripts.scripts.get('default/t1')?.artifacts;
  artifacts?.set('logs/a "b" ü.txt', bytes).set('empty', Buffer.alloc(0)).set('torn', Buffer.from('half'));
  const list = await call(app, 'GET', '/v1/scripts/t1/artifacts');
  t.match(list, { status: 200, json: { artifacts: [{ name: 'logs/a "b" ü.txt', size: 700_000 }, {}, {}] } });
  t.ok(isArtifacts.Check(list.json));
  const url = await listen();
  for (const name of ['logs/a%20%22b%22%20%C3%BC.txt', 'logs%2Fa%20%22b%22%20%C3%BC.txt']) {
    const response = await fetch(`${url}/v1/scripts/t1/artifacts/${name}`, { headers: { authorization } });
    t.match(Object.fromEntries(response.headers), {
      'content-type': 'application/octet-stream',
      'content-length': '700000',
      'content-disposition': "attachment; filename*=UTF-8''a%20%22b%22%20%C3%BC.txt",
      'x-content-type-options': 'nosniff',
    });
    t.ok(Buffer.from(await response.arrayBuffer()).equals(bytes));
  }
  t.match(await call(app, 'GET', '/v1/scripts/t1/artifacts/empty'), {
    status: 200,
    text: '',
    headers: { 'content-length': '0' },
  });
  t.match(await call(app, 'GET', '/v1/scripts/t1/artifacts/none'), {
    status: 404,
    json: { code: 'ARTIFACT_UNKNOWN' },
  });
  await t.rejects(
    fetch(`${url}/v1/scripts/t1/artifacts/torn`, { headers: { authorization } }).then((response) =>
      response.text(),
    ),
    'a part is never taken for the whole',
  );
  const gone = new RawConnection(t, url);
  gone.head('GET /v1/scripts/t1/artifacts/logs/a%20%22b%22%20%C3%BC.txt', { authorization });
  await gone.until(/HTTP\/1.1 200/);
  gone.socket.destroy();
  await eventually(() => scripts.openFiles.size === 0);
});
