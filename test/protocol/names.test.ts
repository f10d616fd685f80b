/** Every word that comes from outside and becomes part of a path, a pod name or a header. */
import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import fc from 'fast-check';
import { test } from 'tap';
import { cursorText, parseCursor, START_OF_JOURNAL } from '../../src/protocol/cursor.ts';
import {
  parseDigestName,
  parseReprDigest,
  parseSha256,
  reprDigestFor,
  sha256Of,
} from '../../src/protocol/digest.ts';
import { environmentNameFor } from '../../src/protocol/environment-name.ts';
import { extensionOf, parsePackageId, parsePackageVersion } from '../../src/protocol/package-name.ts';
import { foldedPath, parseRelativePath, type RelativePath } from '../../src/protocol/relative-path.ts';
import { parseScriptKey, parseTicket, scriptKeyFor } from '../../src/protocol/ticket.ts';

/** Texts that somebody would try: what no name may contain, and any text at all. */
const hostile = fc.oneof(
  fc.constantFrom(
    '',
    '.',
    '..',
    '/',
    '../x',
    'a/../b',
    'a\0b',
    'a\nb',
    'a\\b',
    'C:\\x',
    '~',
    'a b',
    'é',
    '\u202e',
  ),
  fc.constantFrom(
    'x'.repeat(300),
    '.hidden',
    '-rf',
    'a..b',
    'a/',
    '%2e%2e',
    '\ud800',
    'a\u2028b',
    'a\u0085b',
  ),
  fc.string({ unit: 'binary', maxLength: 300 }),
);
const ticketText = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);
const segment = fc
  .string({ minLength: 1, maxLength: 12 })
  .filter((text) => !/[\0-\x1f\x7f\\/]|^\.{1,2}$/.test(text));
const pathText = fc.array(segment, { minLength: 1, maxLength: 5 }).map((segments) => segments.join('/'));

/** As a line of TAP can hold it. */
function shown(text: string): string {
  return text.replace(/[^ -~]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function pathOf(text: string): RelativePath {
  const path = parseRelativePath(text);
  if (path === undefined) throw new TypeError(`${shown(text)} is no path`);
  return path;
}

test('parseTicket() takes what TICKET_RULE says and gives it back unchanged', async (t) => {
  fc.assert(fc.property(ticketText, (text) => parseTicket(text) === text));
  t.equal(parseTicket('a'.repeat(128)), 'a'.repeat(128));
});

test('parseTicket() refuses everything else: separators, NUL, dots first, 129 characters, line ends', async (t) => {
  fc.assert(
    fc.property(
      hostile,
      (text) => parseTicket(text) === undefined || /^[A-Za-z0-9][\w.-]{0,127}$/.test(text),
    ),
  );
  for (const text of ['', '.a', '-a', 'a/b', 'a\0', 'a\n', '\na', 'a'.repeat(129), 'ä', 'a b', '..']) {
    t.equal(parseTicket(text), undefined, shown(text));
  }
});

test('scriptKeyFor() gives a folder name and pod name for every server and ticket, always the same', async () => {
  fc.assert(
    fc.property(fc.string(), ticketText, (server, text) => {
      const ticket = parseTicket(text);
      if (ticket === undefined) return false;
      const key = scriptKeyFor(server, ticket);
      return key === scriptKeyFor(server, ticket) && key.length <= 45 && parseScriptKey(key) === key;
    }),
  );
});

test('scriptKeyFor() keeps apart two servers with one ticket, and tickets that differ only in case', async () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), ticketText, ticketText, (one, other, left, right) => {
      fc.pre(one !== other || left !== right);
      const [a, b] = [parseTicket(left), parseTicket(right)];
      return a !== undefined && b !== undefined && scriptKeyFor(one, a) !== scriptKeyFor(other, b);
    }),
  );
});

test('parseScriptKey() refuses folders that others made on the volume', async (t) => {
  for (const text of [
    '',
    'lost+found',
    '.staging-0123456789abcdef',
    'x'.repeat(24),
    `A-${'0'.repeat(24)}`,
    '..',
  ]) {
    t.equal(parseScriptKey(text), undefined, text);
  }
  fc.assert(
    fc.property(hostile, (text) => parseScriptKey(text) === undefined || /^[a-z0-9-]{26,45}$/.test(text)),
  );
});

test('parseSha256() takes 64 lower-case hex digits and nothing else', async (t) => {
  const digest = 'ab'.repeat(32);
  t.equal(parseSha256(digest), digest);
  for (const text of [
    digest.toUpperCase(),
    digest.slice(1),
    `${digest}0`,
    `${digest}\n`,
    ` ${digest}`,
    'g'.repeat(64),
  ]) {
    t.equal(parseSha256(text), undefined, shown(text));
  }
  t.equal(parseDigestName(`sha256:${digest}`), digest);
  for (const text of [digest, `sha512:${digest}`, `SHA256:${digest}`, 'sha256:', `sha256: ${digest}`]) {
    t.equal(parseDigestName(text), undefined, text);
  }
});

test('sha256Of() is the SHA-256 of the bytes', async () => {
  fc.assert(
    fc.property(
      fc.uint8Array(),
      (bytes) => sha256Of(bytes) === createHash('sha256').update(bytes).digest('hex'),
    ),
  );
});

test('parseReprDigest() reads back what reprDigestFor() wrote, among other algorithms and parameters', async () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const digest = sha256Of(bytes);
      const field = reprDigestFor(digest);
      return (
        parseReprDigest(field) === digest &&
        parseReprDigest(`sha-512=:AAAA:, ${field};q=1`) === digest &&
        parseReprDigest(field.replace('sha-256', 'SHA-256')) === digest
      );
    }),
  );
});

test('parseReprDigest() tells a field without sha-256 from one that is not 32 bytes', async (t) => {
  for (const field of ['', 'sha-512=:AAAA:', 'md5=:AAAA:', 'sha-2567=:AAAA:'])
    t.equal(parseReprDigest(field), 'absent');
  const wrong = [
    'sha-256',
    'sha-256=',
    'sha-256=AAAA',
    'sha-256=:AAAA:',
    'sha-256=:!:',
    `sha-256=:${'A'.repeat(44)}:`,
  ];
  for (const field of [...wrong, `sha-256=${'ab'.repeat(32)}`])
    t.equal(parseReprDigest(field), 'invalid', field);
  fc.assert(
    fc.property(fc.string(), (field) => {
      const read = parseReprDigest(field);
      return read === 'absent' || read === 'invalid' || parseSha256(read) === read;
    }),
  );
});

test('parsePackageId() and parsePackageVersion() take the names of package feeds', async (t) => {
  for (const id of ['web', 'Acme.Web', '_internal_', 'a', 'a-b_c.d', 'x'.repeat(100)])
    t.equal(parsePackageId(id), id);
  for (const version of ['1', '1.0.0', '2024.1-rc.1+build.5', '0', '1'.repeat(100)]) {
    t.equal(parsePackageVersion(version), version);
  }
});

test('parsePackageId() and parsePackageVersion() refuse what could leave a folder or hide in it', async (t) => {
  for (const text of [
    '',
    '.',
    '..',
    'a..b',
    '.a',
    'a.',
    '-a',
    'a-',
    'a/b',
    'a\\b',
    'a\0',
    'a\n',
    'ä',
    'x'.repeat(101),
  ]) {
    t.equal(parsePackageId(text), undefined, shown(text));
    t.equal(parsePackageVersion(text), undefined, shown(text));
  }
  t.equal(parsePackageVersion('x'.repeat(300)), undefined);
  fc.assert(
    fc.property(hostile, (text) => {
      const [id, version] = [parsePackageId(text), parsePackageVersion(text)];
      return [id, version].every((name) => name === undefined || /^(?!.*\.\.)[\w.+-]{1,100}$/.test(name));
    }),
  );
});

test('extensionOf() gives one plain extension or none, whatever the client calls its file', async (t) => {
  for (const [name, extension] of [
    ['web.1.0.zip', '.zip'],
    ['web.tar.gz', '.tar.gz'],
    ['web.TAR.Gz', '.TAR.Gz'],
    ['web', ''],
    ['web.', ''],
    ['web.zip/../../x', ''],
    ['.zip', '.zip'],
    [`web.${'x'.repeat(21)}`, ''],
    ['web.z\0p', ''],
    ['web.zip\n', ''],
  ] as const) {
    t.equal(extensionOf(name), extension, shown(name));
  }
  fc.assert(fc.property(hostile, (name) => /^(\.[A-Za-z0-9]{1,20}){0,2}$/.test(extensionOf(name))));
});

test('parseRelativePath() takes plain relative paths, Unicode too, and gives them back unchanged', async (t) => {
  fc.assert(fc.property(pathText, (text) => parseRelativePath(text) === text));
  for (const text of ['a', 'a/b', '.env', '...', 'a b', 'dir/ümlaut', '日本/語', '-rf', 'a:b', '~', '🙂']) {
    t.equal(parseRelativePath(text), text, text);
  }
});

test('parseRelativePath() refuses what leaves the folder, names it twice, or breaks a line or a name', async (t) => {
  const refused = [
    '',
    '/',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    './a',
    'a/.',
    'a/..',
    '../a',
    'a/../../b',
    'a\\b',
    'a\0b',
  ];
  const unreadable = ['a\nb', 'a\rb', 'a\u0085b', 'a\u2028b', 'a\u2029b', 'a\x7fb', '\ud800', 'a\udc00b'];
  for (const text of [...refused, ...unreadable]) t.equal(parseRelativePath(text), undefined, shown(text));
  fc.assert(
    fc.property(hostile, (text) => {
      const path = parseRelativePath(text);
      return path === undefined || posix.resolve('/inside', path) === `/inside/${path}`;
    }),
  );
});

test('parseRelativePath() counts bytes: 255 in a segment, 1024 in all, 32 segments', async (t) => {
  t.ok(parseRelativePath('x'.repeat(255)));
  t.equal(parseRelativePath('x'.repeat(256)), undefined);
  t.equal(parseRelativePath('x'.repeat(300)), undefined);
  t.ok(parseRelativePath('ü'.repeat(127)));
  t.equal(parseRelativePath('ü'.repeat(128)), undefined);
  t.ok(parseRelativePath(Array(32).fill('a').join('/')));
  t.equal(parseRelativePath(Array(33).fill('a').join('/')), undefined);
  t.ok(parseRelativePath(Array(4).fill('x'.repeat(255)).join('/')));
  t.equal(parseRelativePath(`${Array(4).fill('x'.repeat(255)).join('/')}/y`), undefined);
});

test('foldedPath() is one for all that a file system may take for one name', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }), (text) => {
      const folded = foldedPath(text as RelativePath);
      const forms = [text.normalize('NFC'), text.normalize('NFD'), text.toUpperCase(), text.toLowerCase()];
      return forms.every((form) => foldedPath(form as RelativePath) === folded);
    }),
  );
  for (const [left, right] of [
    ['README', 'readme'],
    ['\u00e9', 'e\u0301'],
    ['\u00c9', 'e\u0301'],
    ['Straße', 'STRASSE'],
    ['ΟΔΟΣ', 'οδος'],
    ['\u212a', 'k'],
    ['a\u200db', 'ab'],
    ['ſ', 's'],
  ] as const) {
    t.equal(foldedPath(pathOf(left)), foldedPath(pathOf(right)), `${left} ${right}`);
  }
  t.not(foldedPath(pathOf('a/b')), foldedPath(pathOf('a-b')));
});

test('environmentNameFor() gives a name that every shell takes', async (t) => {
  t.equal(environmentNameFor('Db.Password'), 'Db_Password');
  t.equal(environmentNameFor('1st'), '_1st');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (name) =>
      /^[A-Za-z_][A-Za-z0-9_]*$/.test(environmentNameFor(name)),
    ),
  );
});

test('parseCursor() reads what cursorText() wrote, and nothing that no agent gave', async (t) => {
  const count = fc.integer({ min: 0, max: 999_999_999_999_999 });
  fc.assert(
    fc.property(count, count, (script, agent) => {
      const cursor = parseCursor(cursorText({ script, agent }));
      return cursor?.script === script && cursor.agent === agent;
    }),
  );
  t.equal(cursorText(START_OF_JOURNAL), 's0.a0');
  for (const text of [
    '',
    's1',
    's1.a',
    's-1.a0',
    's01.a0',
    's1.a0\n',
    'S1.A0',
    `s${'9'.repeat(16)}.a0`,
    's1e3.a0',
  ]) {
    t.equal(parseCursor(text), undefined, shown(text));
  }
});
