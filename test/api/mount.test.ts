/** What the interface tells of the volume. */
import { Errors } from 'typebox/value';
import { test } from 'tap';
import { MountAnswer, mountAnswer } from '../../src/api/mount-answer.ts';
import type { Belief } from '../../src/protocol/mount-belief.ts';
import { call, madeApp, madeMount } from './made-app.ts';

const stalled: Belief = {
  ...madeMount().belief,
  verdict: 'stalled',
  rule: 'missed',
  code: 'STORAGE_TIMEOUT',
  says: 'the volume does not answer',
};

test('GET /v1/mount tells the verdict with its evidence, its thresholds and the mount', async (t) => {
  const { app } = await madeApp(t, { mount: () => madeMount({ belief: stalled }) });
  const { status, json } = await call(app, 'GET', '/v1/mount');
  t.equal(status, 200);
  t.match(json, {
    verdict: 'stalled',
    rule: 'missed',
    code: 'STORAGE_TIMEOUT',
    says: 'the volume does not answer',
    epoch: 'e',
    evidence: [{ kind: 'probe', ageSeconds: 2, epoch: { is: 'read' } }],
    thresholds: { stallLimitMs: 90_000 },
    heldProbes: 1,
    mount: {
      mountPoint: '/srv/volume',
      fileSystem: 'nfs4',
      network: true,
      server: '10.0.0.1',
      options: { hard: '' },
    },
  });
  t.same(Errors(MountAnswer, json), []);
});

test('mountAnswer() tells since when by the clock on the wall, and what is not known as null', async (t) => {
  const now = new Date('2026-01-01T00:00:10.000Z');
  const answer = mountAnswer(madeMount({ mount: undefined, epoch: undefined }), now);
  t.match(answer, { since: '2026-01-01T00:00:06.000Z', mount: null, epoch: null });
  t.same(Errors(MountAnswer, answer), []);
});

test('GET /v1/mount needs a token', async (t) => {
  const { app } = await madeApp(t);
  t.equal((await call(app, 'GET', '/v1/mount', { headers: { authorization: 'Bearer no' } })).status, 401);
});

test('GET /readyz stays ready while the volume is not trusted, and says what is believed of it', async (t) => {
  const { app } = await madeApp(t, { mount: () => madeMount({ belief: stalled }) });
  const { status, json } = await call(app, 'GET', '/readyz');
  t.equal(status, 200);
  t.match(json, { ready: true, verdict: 'stalled', volume: 'the volume does not answer' });
});
