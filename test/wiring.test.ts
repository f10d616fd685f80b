import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { loadConfig } from '../src/config.ts';
import { openState } from '../src/mount/agent-state.ts';
import { ensureLayout, findOrCreateEpoch } from '../src/mount/epoch.ts';
import { makeLogger } from '../src/telemetry/logger.ts';
import { AgentPodDuty } from '../src/wiring-agent-pod.ts';
import { openPods } from '../src/wiring-pods.ts';
import { AgentMount } from '../src/wiring-mount.ts';
import { findState, makeParts } from '../src/wiring.ts';
import { eventually } from './harness/eventually.ts';
import { MadeTrust } from './harness/made-trust.ts';
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
  await Promise.all([keeper.close(), book.close(), executor.close(), parts.mount.close()]);
});

t.test('script pods never run as user 0, and the way out is named', async (t) => {
  const flags = ['--executor', 'kubernetes', '--claim', 'volume'];
  const parts = makeParts(configIn(temporaryFolder(t), flags));
  t.teardown(() => parts.mount.close());
  const asRoot = { ...parts, config: { ...parts.config, podUid: 0 } };
  await t.rejects(openPods(asRoot, randomBytes(32)), { code: 'CONFIG_INVALID', message: /podUid/ });
});

t.test('an executor for a cluster needs a claim, and for ReadWriteOnce a node', async (t) => {
  const folder = temporaryFolder(t);
  t.throws(() => configIn(folder, ['--executor', 'kubernetes']), { message: /claim is required/ });
  const flags = ['--executor', 'kubernetes', '--claim', 'volume', '--claim-access', 'rwo'];
  t.throws(() => configIn(folder, flags), { message: /nodeName is required/ });
});

t.test(
  'invariant 8: what the watch does not trust, the gate refuses, and new data is gone on with alone',
  async (t) => {
    const folder = temporaryFolder(t);
    const flags = ['--probe-interval-ms', '100', '--absent-again-ms', '100'];
    const parts = makeParts(configIn(folder, flags));
    t.teardown(() => parts.mount.close());
    t.ok(parts.mount instanceof AgentMount);
    const { volume, gate, mount } = parts;
    await ensureLayout(volume);
    const epoch = await findOrCreateEpoch(volume);
    mount.start(gate, await volume.realRoot(), epoch);
    t.equal(mount.refusal(), undefined);
    const codes = new Set<string>();
    mount.watch.subscribe(() => codes.add(mount.refusal()?.code ?? 'none'));
    rmSync(volume.layout.identity, { recursive: true });
    await eventually(() => codes.has('STORAGE_EMPTIED'));
    await eventually(() => mount.watch.belief().verdict === 'trusted');
    t.not(mount.watch.epoch(), epoch);
    t.ok(await volume.list(volume.layout.tickets));
  },
);

t.test(
  'AgentPodDuty tells of each change, and has the pod replaced once nothing depends on a mount that cannot return',
  async (t) => {
    const mount = new MadeTrust('epoch');
    const told: string[] = [];
    let replaced = 0;
    let isSettled = false;
    const pod = {
      tell: ({ reason }: { reason: string }) => Promise.resolve(void told.push(reason)),
      replace: () => Promise.reject(new Error(`tried ${(replaced += 1)} times`)),
    };
    const logger = makeLogger({ level: 'fatal' });
    const duty = new AgentPodDuty({ pod, mount, isSettled: () => isSettled, logger, retryMs: 5 });
    t.teardown(() => duty.close());
    mount.stalls();
    mount.loses('STORAGE_TIMEOUT', 'limit');
    mount.returns();
    t.same(told, ['StorageStalled', 'StorageLost', 'StorageTrusted']);
    mount.loses('STORAGE_UNREACHABLE', 'elsewhere');
    t.equal(replaced, 0, 'not before the scripts are settled');
    isSettled = true;
    await eventually(() => replaced > 1);
    t.ok(replaced > 1, 'again after it failed');
  },
);
