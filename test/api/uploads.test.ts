import { createHash, randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { BodyManners } from '../../src/api/body-manners.ts';
import { extensionFrom, uploadHeadFrom } from '../../src/api/upload-headers.ts';
import type { Volume } from '../../src/mount/volume.ts';
import { reprDigestFor, sha256Of } from '../../src/protocol/digest.ts';
import { eventually } from '../harness/eventually.ts';
import { call, LIMITS, madeApp, TOKEN } from './made-app.ts';
import { RawConnection } from './raw-connection.ts';

const BYTES = Buffer.from('the bytes of a package');
const DIGEST = sha256Of(BYTES);
const authorization = `Bearer ${TOKEN}`;

/** The files below the volume's folders for uploads, blobs and packages. */
function filesOf(volume: Volume): string[] {
  const { uploads, blobs, packages } = volume.layout;
  return [uploads, blobs, packages].flatMap((folder) =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name)),
  );
}

t.test(
  'PUT of a package: 201, then 200 for the same bytes, 409 for others, 412 for create-only',
  async (t) => {
    const { app, events } = await madeApp(t);
    const put = (body: Buffer, headers: Record<string, string> = {}) =>
      call(app, 'PUT', '/v1/packages/web/1.2.3?filename=web.1.2.3.tar.gz', { body, headers });
    t.match(await put(BYTES, { 'repr-digest': reprDigestFor(DIGEST) }), {
      status: 201,
      headers: { 'repr-digest': reprDigestFor(DIGEST) },
      json: {
        id: 'web',
        version: '1.2.3',
        digest: `sha256:${DIGEST}`,
        size: BYTES.length,
        extension: '.tar.gz',
      },
    });
    t.match(await put(BYTES), { status: 200, json: { size: BYTES.length } });
    t.match(await put(Buffer.from('other')), { status: 409, json: { code: 'PACKAGE_CONFLICT', id: 'web' } });
    t.match(await put(BYTES, { 'if-none-match': '*' }), { status: 412, json: { code: 'PACKAGE_EXISTS' } });
    t.match(
      events.filter(({ type }) => type === 'upload'),
      [
        { kind: 'package', result: 'created', bytes: BYTES.length },
        { kind: 'package', result: 'same', bytes: 0 },
        { kind: 'package', result: 'PACKAGE_CONFLICT', bytes: 0 },
        { kind: 'package', result: 'PACKAGE_EXISTS', bytes: 0 },
      ],
    );
  },
);

t.test('HEAD and GET tell what is there', async (t) => {
  const { app } = await madeApp(t);
  t.match(await call(app, 'HEAD', '/v1/packages/web/1'), {
    status: 404,
    headers: { 'x-longshore-code': 'PACKAGE_UNKNOWN' },
  });
  t.match(await call(app, 'GET', '/v1/packages?id=web'), { status: 200, json: { packages: [] } });
  for (const version of ['2', '1']) await call(app, 'PUT', `/v1/packages/web/${version}`, { body: BYTES });
  t.match(await call(app, 'HEAD', '/v1/packages/web/1'), {
    status: 200,
    text: '',
    headers: { 'repr-digest': reprDigestFor(DIGEST), 'content-length': String(BYTES.length) },
  });
  t.match(await call(app, 'GET', '/v1/packages?id=web'), {
    json: { packages: [{ version: '1' }, { version: '2' }] },
  });
  t.match(await call(app, 'GET', '/v1/packages'), { status: 400, json: { field: '?id', rule: 'there' } });
  t.match(await call(app, 'GET', '/v1/packages?id=web&x=1'), { status: 400, json: { field: '?x' } });
  t.match(await call(app, 'HEAD', `/v1/blobs/sha256/${DIGEST}`), {
    status: 200,
    headers: { 'content-length': String(BYTES.length) },
  });
  t.match(await call(app, 'HEAD', `/v1/blobs/sha256/${'0'.repeat(64)}`), {
    status: 404,
    headers: { 'x-longshore-code': 'BLOB_UNKNOWN' },
  });
});

t.test('PUT of a blob must have the digest of its address', async (t) => {
  const { app, volume } = await madeApp(t);
  const put = (hex: string, headers: Record<string, string> = {}, body = BYTES) =>
    call(app, 'PUT', `/v1/blobs/sha256/${hex}`, { body, headers });
  t.match(await put('0'.repeat(64)), { status: 422, json: { code: 'DIGEST_MISMATCH', arrived: DIGEST } });
  t.match(await put(DIGEST.toUpperCase()), { status: 400, json: { code: 'DIGEST_INVALID', field: ':hex' } });
  t.match(await put(DIGEST, { 'repr-digest': reprDigestFor(sha256Of('x')) }), {
    status: 400,
    json: { code: 'DIGEST_INVALID' },
  });
  t.same(filesOf(volume), [], 'nothing is left of them');
  t.match(await put(DIGEST, { 'if-none-match': '*' }), {
    status: 201,
    json: { digest: `sha256:${DIGEST}`, size: BYTES.length },
  });
  t.match(await put(DIGEST), { status: 200 });
  t.match(await put(DIGEST, { 'if-none-match': '*' }), { status: 412, json: { code: 'BLOB_EXISTS' } });
  const empty = createHash('sha256').digest('hex');
  t.match(await put(empty, {}, Buffer.alloc(0)), { status: 201, json: { size: 0 } });
});

t.test('every bad name, digest and header gets its code, and leaves no byte behind', async (t) => {
  const { app, volume, listen } = await madeApp(t);
  const long = 'x'.repeat(300);
  const names = [
    'a..b',
    'a%00b',
    'a%2Fb',
    'a%5Cb',
    'a%0Ab',
    long,
    '%20',
    '-a',
    'ü',
    'a~tmp-0011223344556677',
    '%F0%9F%98%80',
  ];
  for (const name of names) {
    const id = await call(app, 'PUT', `/v1/packages/${name}/1`, { body: BYTES });
    t.match(id, { status: 400, json: { code: 'PACKAGE_NAME_INVALID', field: ':id' } }, `id ${name}`);
    const version = await call(app, 'PUT', `/v1/packages/a/${name}`, { body: BYTES });
    t.match(
      version,
      { status: 400, json: { code: 'PACKAGE_NAME_INVALID', field: ':version' } },
      `version ${name}`,
    );
  }
  for (const name of ['..', '.', '', 'a%00b', 'a%2Fb', 'a%5Cb', 'a%0Ab', long]) {
    const file = await call(app, 'PUT', `/v1/packages/a/1?filename=${name}`, { body: BYTES });
    t.match(
      file,
      { status: 400, json: { code: 'PACKAGE_NAME_INVALID', field: '?filename' } },
      `file name ${name}`,
    );
  }
  const url = await listen();
  for (const path of ['../1', 'a/..', './1', '%2e%2e/1', 'a/%2E%2e']) {
    // Clients in libraries resolve these before they send them.
    const raw = new RawConnection(t, url);
    raw.head(`PUT /v1/packages/${path}`, { authorization, 'content-length': 0 });
    await raw.until(/^HTTP\/1.1 400 .*PACKAGE_NAME_INVALID/s);
  }
  const headers: readonly [Record<string, string>, number, string][] = [
    [{ 'repr-digest': 'sha-256=abc' }, 400, 'DIGEST_INVALID'],
    [{ 'content-digest': 'sha-256=:AAAA:' }, 400, 'DIGEST_INVALID'],
    [{ 'repr-digest': reprDigestFor(sha256Of('x')) }, 422, 'DIGEST_MISMATCH'],
    [{ 'content-digest': reprDigestFor(sha256Of('x')) }, 422, 'DIGEST_MISMATCH'],
    [{ 'content-encoding': 'gzip' }, 415, 'MEDIA_TYPE_UNSUPPORTED'],
    [{ 'content-range': 'bytes 5-9/10' }, 400, 'REQUEST_INVALID'],
    [{ 'if-none-match': '"abc"' }, 400, 'REQUEST_INVALID'],
    [{ 'content-disposition': "attachment; filename*=UTF-8''%zz" }, 400, 'PACKAGE_NAME_INVALID'],
    [{ 'content-disposition': 'attachment; filename="../x.zip"' }, 400, 'PACKAGE_NAME_INVALID'],
  ];
  for (const [given, status, code] of headers) {
    const answer = await call(app, 'PUT', '/v1/packages/a/1', { body: BYTES, headers: given });
    t.match(answer, { status, json: { code } }, JSON.stringify(given));
  }
  t.same(filesOf(volume), []);
});

t.test('a body that waits for "continue" is asked for only when nothing stands against it', async (t) => {
  const { listen, app } = await madeApp(t);
  await call(app, 'PUT', '/v1/packages/taken/1', { body: Buffer.from('other bytes') });
  const url = await listen();
  const expecting = { authorization, expect: '100-continue', 'content-length': BYTES.length };
  const accepted = new RawConnection(t, url);
  accepted.head('PUT /v1/packages/web/1', expecting);
  await accepted.until(/^HTTP\/1.1 100 Continue\r\n\r\n/);
  accepted.socket.write(BYTES);
  await accepted.until(/HTTP\/1.1 201 /);
  const refusals: readonly [path: string, headers: Record<string, string | number>, answer: RegExp][] = [
    ['/v1/packages/web/2', { authorization: 'Bearer nobody' }, /^HTTP\/1.1 401 .*UNAUTHENTICATED/s],
    ['/v1/packages/a..b/1', {}, /^HTTP\/1.1 400 .*PACKAGE_NAME_INVALID/s],
    ['/v1/packages/taken/1', { 'repr-digest': reprDigestFor(DIGEST) }, /^HTTP\/1.1 409 .*PACKAGE_CONFLICT/s],
    ['/v1/packages/taken/1', { 'if-none-match': '*' }, /^HTTP\/1.1 412 .*PACKAGE_EXISTS/s],
    [
      '/v1/packages/web/3',
      { 'content-length': LIMITS.uploadMaxBytes + 1 },
      /^HTTP\/1.1 413 .*BODY_TOO_LARGE/s,
    ],
    ['/v1/scripts/t1', {}, /^HTTP\/1.1 (100|415)/],
    ['/nowhere', {}, /^HTTP\/1.1 404 .*ROUTE_UNKNOWN/s],
  ];
  for (const [path, headers, answer] of refusals) {
    const refused = new RawConnection(t, url);
    refused.head(`PUT ${path}`, { ...expecting, ...headers });
    await refused.until(answer);
    if (refused.text.startsWith('HTTP/1.1 100')) continue;
    t.match(refused.text, /^connection: close$/im, 'the body may or may not come, so the connection ends');
    await refused.closed();
  }
});

t.test('bytes that are there already are not asked for', async (t) => {
  const { listen, app } = await madeApp(t);
  await call(app, 'PUT', '/v1/packages/web/1', { body: BYTES });
  const url = await listen();
  for (const path of ['/v1/packages/web/1', '/v1/packages/web/2', `/v1/blobs/sha256/${DIGEST}`]) {
    const known = new RawConnection(t, url);
    const digest = { 'repr-digest': reprDigestFor(DIGEST) };
    known.head(`PUT ${path}`, {
      authorization,
      ...digest,
      expect: '100-continue',
      'content-length': BYTES.length,
    });
    await known.until(/^HTTP\/1.1 20[01] /);
    t.notMatch(known.text, /100 Continue/);
  }
});

t.test('a JSON body that waits for "continue" is asked for after the token was checked', async (t) => {
  const { listen } = await madeApp(t);
  const url = await listen();
  const body = JSON.stringify({ language: 'bash', body: 'echo' });
  const headers = {
    'content-type': 'application/json',
    expect: '100-continue',
    'content-length': body.length,
  };
  const accepted = new RawConnection(t, url);
  accepted.head('PUT /v1/scripts/t1', { ...headers, authorization });
  await accepted.until(/^HTTP\/1.1 100 Continue/);
  accepted.socket.write(body);
  await accepted.until(/HTTP\/1.1 200 OK/);
  const refused = new RawConnection(t, url);
  refused.head('PUT /v1/scripts/t1', headers);
  await refused.until(/^HTTP\/1.1 401 /);
});

t.test(
  'a body that comes unasked is read for a while after its refusal, so that the answer arrives',
  async (t) => {
    const { listen } = await madeApp(t);
    const url = await listen();
    const short = new RawConnection(t, url);
    short.head('PUT /v1/packages/web/1', { authorization: 'Bearer nobody', 'content-length': 2 ** 20 });
    for (let sent = 0; sent < 16; sent += 1) short.socket.write(Buffer.alloc(2 ** 16));
    await short.until(/^HTTP\/1.1 401 /);
    short.head('GET /livez', {});
    await short.until(/HTTP\/1.1 200 OK/, 5000);
    const endless = new RawConnection(t, url);
    endless.head('PUT /v1/packages/web/1', {
      authorization: 'Bearer nobody',
      'transfer-encoding': 'chunked',
    });
    await endless.until(/^HTTP\/1.1 401 /);
    await endless.closed(10_000);
  },
);

t.test('an upload that breaks off, stalls or is too long leaves no byte behind', async (t) => {
  const { listen, volume, events, blobs } = await madeApp(t);
  const url = await listen();
  const results = (): unknown[] => events.flatMap((event) => (event.type === 'upload' ? [event.result] : []));
  const broken = new RawConnection(t, url);
  broken.head('PUT /v1/packages/web/1', { authorization, 'content-length': 1000 });
  broken.socket.write(BYTES);
  await eventually(() => blobs.space.load.uploads === 1);
  broken.socket.destroy();
  await eventually(() => results().includes('UPLOAD_INCOMPLETE'));
  const slow = new RawConnection(t, url);
  slow.head('PUT /v1/packages/web/1', { authorization, 'content-length': 1000 });
  await slow.until(/^HTTP\/1.1 408 .*UPLOAD_TOO_SLOW/s);
  const long = new RawConnection(t, url);
  long.head('PUT /v1/packages/web/1', { authorization, 'transfer-encoding': 'chunked' });
  for (let sent = 0; sent <= LIMITS.uploadMaxBytes; sent += 0x10000)
    long.socket.write(`10000\r\n${'x'.repeat(0x10000)}\r\n`);
  await long.until(/^HTTP\/1.1 413 .*BODY_TOO_LARGE/s);
  await eventually(() => blobs.space.load.uploads === 0);
  t.same(filesOf(volume), []);
});

t.test(
  'uploads beyond the limit are told when to come again, and a stopping agent ends those under way',
  async (t) => {
    const { listen, app, stopping, blobs } = await madeApp(t);
    const url = await listen();
    const going = Array.from({ length: LIMITS.maxUploads }, (_, index) => {
      const connection = new RawConnection(t, url);
      connection.head(`PUT /v1/packages/web/${index}`, { authorization, 'content-length': 10_000 });
      return connection;
    });
    await eventually(() => blobs.space.load.uploads === LIMITS.maxUploads);
    const refused = await call(app, 'PUT', '/v1/packages/web/9', { body: BYTES });
    t.match(refused, { status: 429, json: { code: 'UPLOADS_TOO_MANY' }, headers: { 'retry-after': '5' } });
    stopping.abort();
    for (const connection of going) await connection.until(/^HTTP\/1.1 503 .*AGENT_STOPPING/s);
  },
);

t.test('a large body arrives whole through a socket', async (t) => {
  const { listen } = await madeApp(t);
  const url = await listen();
  const bytes = randomBytes(5_000_000);
  const response = await fetch(`${url}/v1/packages/big/1?filename=big.zip`, {
    method: 'PUT',
    body: bytes,
    headers: { authorization, 'repr-digest': reprDigestFor(sha256Of(bytes)) },
  });
  t.equal(response.status, 201);
  t.match(await response.json(), { size: bytes.length, extension: '.zip' });
});

t.test(
  'extensionFrom() takes the query before Content-Disposition, and only an extension of either',
  async (t) => {
    t.equal(extensionFrom('a.zip', 'attachment; filename=b.tar'), '.zip');
    t.equal(extensionFrom(undefined, 'attachment; filename="a b.tar.gz"'), '.tar.gz');
    t.equal(extensionFrom(undefined, 'attachment; filename=b.nupkg; size=5'), '.nupkg');
    t.equal(
      extensionFrom(undefined, `attachment; filename="x.exe"; filename*=UTF-8'en'%E2%82%AC.zip`),
      '.zip',
    );
    t.equal(extensionFrom(undefined, 'attachment; filename="a\\"b.zip"'), '.zip');
    t.equal(extensionFrom(undefined, 'attachment'), '');
    t.equal(extensionFrom(undefined, undefined), '');
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (name) => {
        try {
          return /^(\.[A-Za-z0-9]+)*$/.test(extensionFrom(name, undefined));
        } catch (error) {
          return (error as { code?: string }).code === 'PACKAGE_NAME_INVALID';
        }
      }),
    );
  },
);

t.test('uploadHeadFrom() reads length, digest and condition', async (t) => {
  t.same(uploadHeadFrom({}), { digest: undefined, length: undefined, ifNoneMatch: false });
  const headers = {
    'content-length': '5',
    'repr-digest': `sha-512=:AA==:, ${reprDigestFor(DIGEST)}`,
    'if-none-match': ' * ',
  };
  t.same(uploadHeadFrom(headers), { digest: DIGEST, length: 5, ifNoneMatch: true });
  t.type(BodyManners, 'function');
});
