/** What is counted and logged of the mount. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openCase } from '../../src/protocol/mount-verdict.ts';
import type { Belief } from '../../src/protocol/mount-belief.ts';
import type { Evidence } from '../../src/protocol/mount-evidence.ts';
import { makeLogger } from '../../src/telemetry/logger.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { MountReporter } from '../../src/telemetry/mount-reporter.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';

function made(t: { teardown: (work: () => void) => void }) {
  const file = join(temporaryFolder(t), 'log');
  const fd = openSync(file, 'w');
  t.teardown(() => closeSync(fd));
  const metrics = new Metrics();
  const reporter = new MountReporter(metrics, makeLogger({ level: 'debug', fd }));
  const log = (): string => readFileSync(file, 'utf8');
  return { reporter, log, scraped: async () => (await metrics.render({})).text };
}

const trusted = openCase({ atMs: 0, epoch: 'e' }).belief;
const stalled: Belief = {
  ...trusted,
  verdict: 'stalled',
  rule: 'missed',
  code: 'STORAGE_TIMEOUT',
  says: 'it does not answer',
  after: { verdict: 'trusted', lastedMs: 500 },
};

t.test('a change of the verdict is one line, and how long an outage lasted is measured', async (t) => {
  const { reporter, log, scraped } = made(t);
  reporter.tell({ type: 'belief', before: trusted, belief: stalled });
  t.match(log(), /"level":"warn".*"verdict":"stalled".*the volume is not trusted/);
  reporter.tell({ type: 'belief', before: stalled, belief: { ...stalled, rule: 'error' } });
  t.match(log(), /there is more to say of the volume/);
  t.notMatch(await scraped(), /longshore_mount_outage_seconds_count\{/);
  const after = { verdict: 'stalled', lastedMs: 31_000 } as const;
  reporter.tell({ type: 'belief', before: stalled, belief: { ...trusted, after } });
  t.match(log(), /"lastedSeconds":31,"msg":"the volume is trusted"/);
  t.match(await scraped(), 'longshore_mount_outage_seconds_sum{verdict="stalled"} 31');
});

t.test('evidence is counted by kind and by one word for what it was', async (t) => {
  const { reporter, scraped } = made(t);
  const estale = { is: 'errno', number: 116, name: 'ESTALE' } as const;
  const [atMs, ok] = [0, { is: 'ok' }] as const;
  const seen: readonly (readonly [Evidence, string])[] = [
    [{ kind: 'probe', atMs, root: ok, epoch: { is: 'read', epoch: 'e' } }, 'read'],
    [{ kind: 'probe', atMs, root: ok, epoch: estale }, 'ESTALE'],
    [{ kind: 'probe', atMs, root: { is: 'missed', afterMs: 5 }, epoch: { is: 'unasked' } }, 'missed'],
    [{ kind: 'canary', atMs, answer: estale }, 'ESTALE'],
    [{ kind: 'canary', atMs, answer: ok }, 'ok'],
    [{ kind: 'server', atMs, address: '10.0.0.1', answer: { is: 'refused', says: 'x' } }, 'refused'],
    [{ kind: 'address', atMs, name: 'n', mounted: '10.0.0.1', resolved: ['10.0.0.2'] }, 'other'],
    [{ kind: 'address', atMs, name: 'n', mounted: '10.0.0.1', resolved: ['10.0.0.1'] }, 'same'],
  ];
  for (const [evidence] of seen) reporter.tell({ type: 'evidence', evidence });
  const text = await scraped();
  for (const [{ kind }, result] of seen) t.match(text, `{kind="${kind}",result="${result}"} 1`);
});

t.test('probes and new contents are counted, and a recovery that fails is told with its code', async (t) => {
  const { reporter, log, scraped } = made(t);
  reporter.tell({ type: 'probe', report: { kind: 'liveness', end: 'answered', seconds: 0.01 } });
  reporter.tell({ type: 'epoch', before: undefined, epoch: 'a' });
  reporter.tell({ type: 'epoch', before: 'a', epoch: 'b' });
  reporter.recoveryFailed(new Error('no room'));
  const text = await scraped();
  t.match(text, 'longshore_mount_probe_seconds_count{kind="liveness",end="answered"} 1');
  t.match(text, 'longshore_mount_epoch_changes_total 1');
  t.match(log(), /no room.*cannot be made usable yet/);
});
