import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { loadConfig } from '../src/config.ts';
import { openState } from '../src/mount/agent-state.ts';
import { openPods } from '../src/wiring-pods.ts';
import { findState, makeParts } from '../src/wiring.ts';
import { temporaryFolder } from './harness/temporary-volume.ts';

function configIn(folder: string, flags: readonly string[] = []) {
  mkdirSync(join(folder, 'volume'), { recursive: true });
  const places = ['--volume', join(folder, 'volume'), '--state', join(folder, 'state')];
  return loadConfig([...places, '--log-level', 'silent', ...flags], { UV_THREADPOOL_SIZE: '64' });
}

// Runners do not keep an agent up; these tests wait for them.
const awake = setInterval(() => undefined, 1000);
t.teardown(() => clearInterval(awake));

t.test('an agent that says nothing of a cluster runs scripts as processes of its machine', async (t) => {
  const config = configIn(temporaryFolder(t));
  const parts = makeParts(config);
  const { executor, keeper, book, pods } = await findState(parts, await openState(config));
  t.equal(executor.kind, 'local');
  t.equal(pods().size, 0);
  await Promise.all([keeper.close(), book.close(), executor.close()]);
});

t.test('script pods never run as user 0, and the way out is named', async (t) => {
  const flags = ['--executor', 'kubernetes', '--claim', 'volume'];
  const parts = makeParts(configIn(temporaryFolder(t), flags));
  const asRoot = { ...parts, config: { ...parts.config, podUid: 0 } };
  await t.rejects(openPods(asRoot, randomBytes(32)), { code: 'CONFIG_INVALID', message: /podUid/ });
});

t.test('an executor for a cluster needs a claim, and for ReadWriteOnce a node', async (t) => {
  const folder = temporaryFolder(t);
  t.throws(() => configIn(folder, ['--executor', 'kubernetes']), { message: /claim is required/ });
  const flags = ['--executor', 'kubernetes', '--claim', 'volume', '--claim-access', 'rwo'];
  t.throws(() => configIn(folder, flags), { message: /nodeName is required/ });
});
