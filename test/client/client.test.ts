import { createServer, type Server } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import t from 'tap';
import {
  Fault,
  LongshoreClient,
  sha256Of,
  type ClientOptions,
  type ScriptNews,
} from '../../src/client/client.ts';
import { exchange, jsonOf } from '../../src/client/exchange.ts';
import { isPassing, retrying } from '../../src/client/retry.ts';
import type { AgentView } from '../../src/api/agent-view.ts';
import { call, LIMITS, madeApp, TOKEN, type MadeApp } from '../api/made-app.ts';
import { eventually } from '../harness/eventually.ts';

type Teardown = { teardown: (work: () => unknown) => void };

const BYTES = Buffer.alloc(300_000, 'x');
const DIGEST = sha256Of(BYTES);

interface Pair extends MadeApp {
  readonly url: string;
  readonly client: LongshoreClient;
}

async function pair(t: Teardown, options: Partial<ClientOptions> = {}, given = {}): Promise<Pair> {
  const made = await madeApp(t, given);
  const url = await made.listen();
  return { ...made, url, client: clientOf(t, { url, ...options }) };
}

function clientOf(t: Teardown, options: Partial<ClientOptions> & { url: string }): LongshoreClient {
  const client = new LongshoreClient({ token: TOKEN, retryForMs: 0, ...options });
  t.teardown(() => client.close());
  return client;
}

async function listening(t: Teardown, server: Server | ReturnType<typeof createTcpServer>): Promise<string> {
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.teardown(() => server.close());
  // An address of TCP is an object.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Bytes to push, and how often and how far they were read. */
function counted(bytes = BYTES): {
  digest: typeof DIGEST;
  size: number;
  open: () => Readable;
  readonly reads: number[];
} {
  const reads: number[] = [];
  const open = (): Readable => {
    const index = reads.push(0) - 1;
    const chunks = function* () {
      for (let at = 0; at < bytes.length; at += 10_000) {
        reads[index] = at + 10_000;
        yield bytes.subarray(at, at + 10_000);
      }
    };
    return Readable.from(chunks(), { objectMode: false, highWaterMark: 1 });
  };
  return { digest: sha256Of(bytes), size: bytes.length, open, reads };
}

const web = { id: 'web', version: '1', fileName: 'web.zip' };

t.test('push() sends what the agent lacks, once, and nothing that it has', async (t) => {
  const { client, app } = await pair(t);
  const bytes = counted();
  t.equal(await client.push({ ...web, ...bytes }), 'created');
  t.equal(await client.push({ ...web, ...bytes }), 'there-already');
  t.same(bytes.reads, [BYTES.length]);
  t.equal(
    await client.push({ ...web, version: '2', ...bytes }),
    'created',
    'another name for bytes that are there',
  );
  t.ok((bytes.reads[1] ?? 0) <= 20_000, 'whose bytes are not sent again');
  t.match((await call(app, 'GET', '/v1/packages?id=web')).json, { packages: [{ extension: '.zip' }, {}] });
  t.equal(await client.pushBlob(bytes), 'there-already');
  t.equal(await client.pushBlob(counted(Buffer.from('a blob'))), 'created');
  t.equal(
    await client.push({ ...web, version: '3', ...counted(Buffer.alloc(0)) }),
    'created',
    'also no bytes at all',
  );
});

t.test('a refused push costs no body, and says why', async (t) => {
  const { client, url } = await pair(t);
  await client.push({ ...web, ...counted() });
  const other = counted(Buffer.alloc(300_000, 'y'));
  await t.rejects(client.push({ ...web, ...other }), { code: 'PACKAGE_CONFLICT', detail: { status: 409 } });
  t.ok((other.reads[0] ?? 0) <= 20_000);
  await t.rejects(clientOf(t, { url, token: 'nobody' }).push({ ...web, ...other }), {
    code: 'UNAUTHENTICATED',
  });
  await t.rejects(client.push({ ...web, id: '..a', ...other }), { code: 'PACKAGE_NAME_INVALID' });
  const wrong = { ...counted(), digest: sha256Of('else'), version: '4' };
  await t.rejects(client.push({ ...web, ...wrong }), { code: 'DIGEST_MISMATCH' });
});

t.test("a file that cannot be read is not the agent's fault, and is not tried again", async (t) => {
  const { client } = await pair(t, { retryForMs: 60_000 });
  let opened = 0;
  const open = (): Readable => {
    opened += 1;
    return new Readable({
      read() {
        this.destroy(new Error('EIO'));
      },
    });
  };
  await t.rejects(client.push({ ...web, digest: DIGEST, size: 5, open }), {
    code: 'REQUEST_INVALID',
    message: /EIO/,
  });
  t.equal(opened, 1);
});

t.test(
  'start, status, cancel, artifacts, complete and capabilities answer what the agent says',
  async (t) => {
    const { client, scripts } = await pair(t);
    t.match(await client.start('t1', { language: 'bash', body: 'echo' }), {
      ticket: 't1',
      state: 'published',
    });
    scripts.write('t1', 'hello');
    scripts.scripts.get('default/t1')?.artifacts.set('logs/ü 1.txt', Buffer.from('left'));
    t.match(await client.status('t1'), { journal: { next: 's1.a0', lines: [{ text: 'hello' }] } });
    t.match(await client.status('t1', { after: 's1.a0', waitSeconds: 0.01 }), { journal: { lines: [] } });
    await t.rejects(client.complete('t1'), { code: 'SCRIPT_UNFINISHED', detail: { ticket: 't1' } });
    t.match(await client.cancel('t1'), { outcome: { code: 'SCRIPT_CANCELLED' } });
    t.match(await client.artifacts('t1'), [{ name: 'logs/ü 1.txt', size: 4 }]);
    t.equal((await buffer(await client.artifact('t1', 'logs/ü 1.txt'))).toString(), 'left');
    await client.complete('t1');
    await t.rejects(client.status('t1'), { code: 'TICKET_UNKNOWN' });
    t.match(await client.capabilities(), { languages: ['bash'] });
  },
);

t.test('follow() gives states, lines and the outcome, each once and in order', async (t) => {
  const { client, scripts } = await pair(t);
  await client.start('t1', { language: 'bash', body: 'echo' });
  scripts.write('t1', 'one');
  const told: ScriptNews[] = [];
  for await (const news of client.follow('t1')) {
    told.push(news);
    if (told.length === 2) {
      scripts.move('t1', 'running');
      scripts.write('t1', 'two');
      scripts.finish('t1', 'SCRIPT_FAILED');
    }
  }
  t.match(told, [
    { type: 'state', state: 'published' },
    { type: 'line', line: { text: 'one' } },
    { type: 'state', state: 'finished' },
    { type: 'line', line: { text: 'two' } },
    { type: 'outcome', outcome: { code: 'SCRIPT_FAILED' } },
  ]);
});

t.test(
  'follow() goes on through a restart of the agent: nothing is lost, nothing comes twice (invariant 5)',
  async (t) => {
    const retried: string[] = [];
    const first = await pair(t, { retried: ({ code }) => retried.push(code) });
    const { client, scripts, url } = first;
    await client.start('t1', { language: 'bash', body: 'echo' });
    scripts.write('t1', 'line 1');
    const texts: string[] = [];
    const following = (async () => {
      for await (const news of client.follow('t1')) if (news.type === 'line') texts.push(news.line.text);
    })();
    await eventually(() => texts.length === 1);
    first.stopping.abort();
    await first.app.close();
    scripts.write('t1', 'line 2');
    await eventually(() => retried.includes('AGENT_UNREACHABLE'));
    const view = { scripts } as unknown as AgentView;
    const second = await madeApp(t, { agent: () => view });
    await second.app.listen({ host: '127.0.0.1', port: Number(new URL(url).port) });
    await eventually(() => texts.length === 2);
    scripts.write('t1', 'line 3');
    scripts.finish('t1');
    await following;
    t.same(texts, ['line 1', 'line 2', 'line 3']);
  },
);

t.test(
  'follow() asks an agent that does not let wait at intervals, and ends when it is told to',
  async (t) => {
    const limits = { ...LIMITS, maxWaitSeconds: 0 };
    const { client, scripts } = await pair(t, {}, { limits });
    await client.start('t1', { language: 'bash', body: 'echo' });
    const leaving = new AbortController();
    const following = (async () => {
      for await (const news of client.follow('t1', 's0.a0', leaving.signal)) t.not(news.type, 'outcome');
    })();
    await eventually(() => scripts.calls.length >= 4);
    t.ok(scripts.calls.length < 10, 'it does not spin');
    leaving.abort();
    await t.rejects(following, { code: 'AGENT_UNREACHABLE' });
  },
);

t.test(
  'an agent that is not there, breaks off, or talks nonsense is AGENT_UNREACHABLE with its cause',
  async (t) => {
    await t.rejects(clientOf(t, { url: 'http://127.0.0.1:1' }).capabilities(), {
      code: 'AGENT_UNREACHABLE',
      cause: { code: 'ECONNREFUSED' },
    });
    let answer = (socket: Socket): void => void socket.destroy();
    const url = await listening(
      t,
      createTcpServer(
        (socket) => void socket.once('data', () => answer(socket)).on('error', () => undefined),
      ),
    );
    const client = clientOf(t, { url, timeoutMs: 200 });
    await t.rejects(client.capabilities(), { code: 'AGENT_UNREACHABLE' });
    answer = (socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a"');
    await t.rejects(client.capabilities(), { code: 'AGENT_UNREACHABLE', message: /broke off/ });
    answer = (socket) =>
      void socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n<html>');
    await t.rejects(client.capabilities(), { code: 'AGENT_UNREACHABLE', message: /is not JSON: <html>/ });
    answer = (socket) =>
      void socket.end('HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}');
    await t.rejects(client.capabilities(), { code: 'AGENT_UNREACHABLE', message: /answered 502/ });
    answer = () => undefined;
    await t.rejects(client.capabilities(), { code: 'AGENT_UNREACHABLE', message: /due to timeout/ });
    t.throws(() => new LongshoreClient({ url: 'nonsense', token: 'x' }), { code: 'ERR_INVALID_URL' });
  },
);

t.test(
  'calls are repeated while the agent says "not now", as it asks, and not when it says no',
  async (t) => {
    const answers: [number, object, Record<string, string>?][] = [
      [503, { code: 'STORAGE_TIMEOUT', detail: 'later' }],
      [429, { code: 'SCRIPTS_TOO_MANY', detail: 'later' }, { 'retry-after': '1' }],
      [200, { languages: [] }],
      [503, { code: 'STORAGE_READONLY', detail: 'an operator must act' }],
    ];
    const at: number[] = [];
    const server = createServer((_request, response) => {
      const [status, body, headers] = answers[at.length] ?? [500, {}];
      at.push(performance.now());
      response.writeHead(status, headers).end(JSON.stringify(body));
    });
    const client = clientOf(t, { url: await listening(t, server), retryForMs: 60_000 });
    t.same(await client.capabilities(), { languages: [] });
    t.ok((at[2] ?? 0) - (at[1] ?? 0) >= 1000, 'Retry-After is heeded');
    await t.rejects(client.capabilities(), { code: 'STORAGE_READONLY' });
    t.equal(at.length, 4);
  },
);

t.test('retrying() stops at its time, at an abort, and at what does not pass', async (t) => {
  const rule = { forMs: 50, signal: new AbortController().signal };
  const away = new Fault('AGENT_UNREACHABLE', 'away');
  let calls = 0;
  const fail = (error: Error) => async () => {
    calls += 1;
    throw error;
  };
  await t.rejects(retrying(rule, fail(away)), away);
  t.equal(calls, 1, 'the next attempt would be too late');
  const aborted = new AbortController();
  const waiting = retrying(
    { forMs: 60_000, signal: aborted.signal, told: () => aborted.abort() },
    fail(away),
  );
  await t.rejects(waiting, away);
  t.equal(calls, 3);
  await t.rejects(retrying({ ...rule, forMs: 60_000 }, fail(new TypeError('a bug'))), TypeError);
  for (const code of [
    'AGENT_UNREACHABLE',
    'AGENT_STOPPING',
    'UPLOADS_TOO_MANY',
    'UPLOAD_TOO_SLOW',
    'STORAGE_BUSY',
  ] as const)
    t.ok(isPassing(new Fault(code, '')), code);
  for (const code of [
    'SCRIPT_UNFINISHED',
    'DIGEST_MISMATCH',
    'STORAGE_DENIED',
    'AGENT_FAILED',
    'TICKET_UNKNOWN',
  ] as const)
    t.notOk(isPassing(new Fault(code, '')), code);
});

t.test('exchange() sends a body once, whether "continue" comes, comes late, or never', async (t) => {
  let got = '';
  const proxy = createTcpServer((socket) => {
    got = '';
    let late: NodeJS.Timeout | undefined;
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      got += bytes.toString('latin1');
      // A "continue" that comes when the body is on its way already.
      if (got.endsWith('a body')) {
        late ??= setTimeout(
          () => socket.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'),
          50,
        );
      }
    });
  });
  const url = new URL(await listening(t, proxy));
  const body = Readable.from([Buffer.from('a body')]);
  const { Agent } = await import('node:http');
  const connections = new Agent();
  t.teardown(() => connections.destroy());
  const signal = AbortSignal.timeout(10_000);
  const headers = { 'content-length': '6' };
  const reply = await exchange({
    method: 'PUT',
    url,
    headers,
    body,
    signal,
    connections,
    continueDeadlineMs: 20,
  });
  t.same(await jsonOf(reply), {});
  t.equal(got.slice(got.indexOf('\r\n\r\n') + 4), 'a body');
});
