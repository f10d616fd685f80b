import fc from 'fast-check';
import t from 'tap';
import { parseTokens, TokenStore } from '../../src/api/tokens.ts';

const LONG = 'a-token-of-many-characters';

t.test('parseTokens() reads a line for each server, and passes over comments and blank lines', async (t) => {
  const servers = parseTokens(`# servers\n\n  one:${LONG}-1  \r\ntwo-2:${LONG}:with=colon\n`);
  t.same(
    servers.map(({ name }) => name),
    ['one', 'two-2'],
  );
});

t.test('parseTokens() names the first line that breaks a rule, and never shows a token', async (t) => {
  const cases: readonly [text: string, line: number, says: RegExp][] = [
    [`One:${LONG}`, 1, /must be name:token/],
    [`${'a'.repeat(41)}:${LONG}`, 1, /must be name:token/],
    [`one:${LONG}\none:${LONG}2`, 2, /names the server one again/],
    [`one:${LONG}\n# x\ntwo:${LONG}`, 3, /gives two the token of another server/],
    ['one:fifteen-letters', 1, /at least 16/],
    [`one:${LONG} with space`, 1, /without spaces/],
    [`one:${LONG}\n${LONG}`, 2, /must be name:token/],
    [`:${LONG}`, 1, /must be name:token/],
  ];
  for (const [text, line, says] of cases) {
    const thrown = refusalOf(text);
    t.match(thrown, { code: 'CONFIG_INVALID', detail: { line }, message: says }, text);
    t.notMatch(thrown.message, LONG);
  }
  t.match(refusalOf('# nobody\n'), { code: 'CONFIG_INVALID', message: /has no line/ });
});

t.test('TokenStore knows each token, and nothing that is nearly one', async (t) => {
  const store = new TokenStore(`one:${LONG}-1\ntwo:${LONG}-2`);
  t.equal(store.serverOf(`${LONG}-1`), 'one');
  t.equal(store.serverOf(`${LONG}-2`), 'two');
  t.same(store.names, ['one', 'two']);
  fc.assert(
    fc.property(
      fc.string(),
      (text) =>
        store.serverOf(`${LONG}${text}`) ===
        (/^-[12]$/.test(text) ? (text === '-1' ? 'one' : 'two') : undefined),
    ),
  );
});

t.test('TokenStore.replace() takes a new file whole, and a broken one changes nothing', async (t) => {
  const store = new TokenStore(`one:${LONG}-1`);
  store.replace(`one:${LONG}-2\nthree:${LONG}-3`);
  t.equal(store.serverOf(`${LONG}-1`), undefined, 'the old token is gone');
  t.equal(store.serverOf(`${LONG}-2`), 'one');
  t.throws(() => store.replace(`one:${LONG}-4\nbroken`), { code: 'CONFIG_INVALID', detail: { line: 2 } });
  t.equal(store.serverOf(`${LONG}-2`), 'one');
  t.equal(store.serverOf(`${LONG}-4`), undefined);
});

function refusalOf(text: string): Error {
  try {
    parseTokens(text);
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error(`${text} was taken`);
}
