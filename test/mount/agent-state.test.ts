import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openState } from '../../src/mount/agent-state.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

function placesIn(folder: string): { state: string; key: string; tokens: string } {
  const state = join(folder, 'a', 'state');
  return { state, key: join(state, 'key'), tokens: join(state, 'tokens') };
}

t.test('openState() makes folder, key and one random token, for this user alone', async (t) => {
  const places = placesIn(temporaryFolder(t));
  const first = await openState(places);
  t.match(first, { madeTokens: true, tokens: /^default:[\w-]{32}\n$/ });
  t.equal(first.agentKey.length, 32);
  for (const file of [places.key, places.tokens]) t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(statSync(places.state).mode & 0o777, 0o700);
  t.same(readdirSync(places.state).sort(), ['key', 'tokens'], 'no temporary file is left');
  const second = await openState(places);
  t.ok(second.agentKey.equals(first.agentKey));
  t.match(second, { madeTokens: false, tokens: first.tokens });
});

t.test('openState() gives agents that start at once the same key and tokens', async (t) => {
  const places = placesIn(temporaryFolder(t));
  const states = await Promise.all(Array.from({ length: 20 }, () => openState(places)));
  t.equal(new Set(states.map(({ agentKey }) => agentKey.toString('hex'))).size, 1);
  t.equal(new Set(states.map(({ tokens }) => tokens)).size, 1);
  t.equal(states.filter(({ madeTokens }) => madeTokens).length, 1);
});

t.test('openState() refuses a key that is none, and files that it cannot open', async (t) => {
  const places = placesIn(temporaryFolder(t));
  mkdirSync(places.state, { recursive: true });
  writeFileSync(places.key, 'short\n');
  await t.rejects(openState(places), { code: 'CONFIG_INVALID', message: /key file .* 32 bytes as base64/ });
  t.equal(readFileSync(places.key, 'utf8'), 'short\n', 'and leaves it as it is');
  writeFileSync(join(places.state, 'file'), '');
  const below = { ...places, key: join(places.state, 'file', 'key') };
  await t.rejects(openState(below), { code: 'CONFIG_INVALID', cause: { code: 'ENOTDIR' } });
  await t.rejects(openState({ ...places, key: join(places.state, 'no', 'key') }), {
    code: 'CONFIG_INVALID',
    message: /cannot make .*ENOENT/,
  });
  chmodSync(places.key, 0o600);
});
