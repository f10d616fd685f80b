/** What is believed of the mount from which evidence; design.md invariants 6 and 8. */
import { test } from 'tap';
import { FAILURES } from '../../src/protocol/failure-table.ts';
import { hasOtherContent, MOUNT_RULES, silenceMs } from '../../src/protocol/mount-belief.ts';
import { meaningOfProbe } from '../../src/protocol/mount-case.ts';
import { SERVER_FAILURES } from '../../src/protocol/mount-evidence.ts';
import { sentenceFor } from '../../src/protocol/mount-sentence.ts';
import { elapse, expectEpoch, openCase, weigh } from '../../src/protocol/mount-verdict.ts';
import * as made from './made-evidence.ts';
import {
  booted,
  canary,
  errno,
  limits,
  ours,
  play,
  probe,
  probes,
  resolved,
  silent,
  told,
} from './made-evidence.ts';

const trusted = '0 trusted reads-back';

test('weigh() stalls at the first look without an answer and trusts again at the first good read', async (t) => {
  for (const [name, rule, code] of [
    ['stuck', 'missed', 'STORAGE_TIMEOUT'],
    ['halfStuck', 'missed', 'STORAGE_TIMEOUT'],
    ['stale', 'error', 'STORAGE_STALE'],
    ['eio', 'error', 'STORAGE_ERROR'],
    ['eacces', 'error', 'STORAGE_ERROR'],
    ['gone', 'unproven', 'STORAGE_ERROR'],
    ['empty', 'unproven', 'STORAGE_ERROR'],
    ['other', 'unproven', 'STORAGE_ERROR'],
  ] as const) {
    const changes = play([probe(10, name), probe(13, 'good')], 15);
    t.same(told(changes), [trusted, `10 stalled ${rule} ${code}`, '13 trusted reads-back'], name);
    t.same(changes.at(-1)?.belief.after, { verdict: 'stalled', lastedMs: 3000 });
  }
});

test('invariant 8: a stalled mount refuses only with codes that may be tried again later', async (t) => {
  for (const name of Object.keys(made.look) as made.Look[]) {
    const { code, verdict } = weigh(openCase({ atMs: 0, epoch: ours }), probe(5, name), limits).belief;
    if (verdict === 'stalled') t.equal(code && FAILURES[code].retry, 'later', name);
  }
});

test('weigh() believes another epoch at its second read', async (t) => {
  const changes = play([probe(5, 'other'), probe(10, 'stuck'), probe(11, 'other')], 12);
  t.equal(told(changes).at(-1), '11 lost replaced STORAGE_REPLACED');
  t.match(changes.at(-1)?.belief.evidence, [{ atMs: 5000 }, { atMs: 11_000 }]);
  const again = play([probe(5, 'other'), probe(10, 'good'), probe(15, 'other')], 16);
  t.equal(told(again).at(-1), '15 stalled unproven STORAGE_ERROR', 'a good read between starts anew');
});

test('weigh() believes an absent epoch at a second look that is far enough from the first', async (t) => {
  const changes = play([probe(5, 'gone'), probe(6, 'gone'), probe(9.9, 'gone'), probe(10, 'gone')], 11);
  t.same(told(changes).slice(2), ['10 lost emptied STORAGE_EMPTIED']);
});

test('invariant 6: absence counts only while the root answers', async (t) => {
  const changes = play(probes(5, 60, 'staleRoot'), 60);
  t.same(told(changes), [trusted, '5 stalled error STORAGE_STALE']);
});

test('an empty epoch is unknown, and not absent', async (t) => {
  const changes = play([...probes(5, 80, 'empty'), probe(85, 'good')], 86);
  t.same(told(changes), [trusted, '5 stalled unproven STORAGE_ERROR', '85 trusted reads-back']);
});

test('ESTALE is believed after its time, and only while the server answers and says nothing else', async (t) => {
  const stale = probes(5, 60, 'staleEpoch');
  const well = made.serverEvery(4, 60, (second) => booted(second, 'b'));
  t.equal(told(play([...stale, ...well], 60)).at(-1), '35 lost stale STORAGE_STALE');
  t.match(told(play(stale, 60)).at(-1), /stalled/, 'nobody has asked the server');
  const away = made.serverEvery(4, 60, silent);
  t.match(
    told(play([...stale, ...away], 60)).at(-1),
    /stalled/,
    'a soft mount says it of a server that is away',
  );
  const blink = [...well, silent(22)];
  t.equal(
    told(play([...stale, ...blink], 60)).at(-1),
    '55 lost stale STORAGE_STALE',
    'the server was away between',
  );
  const other = [...stale, probe(22, 'eacces')];
  t.equal(told(play([...other, ...well], 60)).at(-1), '55 lost stale STORAGE_STALE', 'another errno between');
  const mixed = probes(7, 60, 'unexported');
  t.match(told(play([...stale, ...mixed, ...well], 60)).at(-1), /stalled/, 'un-exported for a while');
  const rare = [probe(5, 'stale'), probe(50, 'stale')];
  t.match(told(play([...rare, ...well], 60)).at(-1), /stalled/, 'two samples are too few');
});

test('a moved server is believed at the second look, while the mount hangs and nobody answers at its address', async (t) => {
  const hang = [...probes(5, 40, 'stuck'), silent(6), silent(11), silent(16)];
  const moved = [resolved(7, '10.0.0.2'), resolved(12, '10.0.0.2')];
  t.equal(told(play([...hang, ...moved], 40)).at(-1), '12 lost elsewhere STORAGE_UNREACHABLE');
  t.match(told(play([...hang, resolved(7, '10.0.0.2')], 40)).at(-1), /stalled/, 'once');
  const between = [...moved, resolved(9, '10.0.0.2', made.mounted)];
  t.match(told(play([...hang, ...between], 40)).at(-1), /stalled/, 'a name with several addresses');
  t.match(told(play([...hang, resolved(7), resolved(12)], 40)).at(-1), /stalled/, 'a name without any');
  const rotating = [probe(3, 'good'), resolved(2, '10.0.0.3'), resolved(4, made.mounted)];
  t.match(told(play([...rotating, ...hang, ...moved], 40)).at(-1), /stalled/, 'moved while the mount worked');
  t.same(
    told(play([...moved, booted(13, 'b')], 14)),
    [trusted],
    'a mount that works is not lost by its name',
  );
});

test('a restarted server is no loss, and is said', async (t) => {
  const changes = play([booted(2, 'a'), probe(5, 'good'), booted(9, 'b'), probe(10, 'stuck')], 12);
  t.same(told(changes), [trusted, '10 stalled missed STORAGE_TIMEOUT']);
  t.match(changes.at(-1)?.belief.says, 'a look at it had no answer within 5.0 s; its server has restarted');
});

test('elapse() leads to stalled by time alone, and to lost only behind a doubt', async (t) => {
  const silent = `${silenceMs(limits) / 1000} stalled silence STORAGE_TIMEOUT`;
  t.same(told(play([], 300)), [trusted, silent], 'a watcher that is not heard proves nothing');
  t.same(told(play([probe(5, 'stuck')], 300)).at(-1), '90 lost limit STORAGE_TIMEOUT');
});

test('the limit names what was seen last', async (t) => {
  const code = (name: made.Look, ...more: ReturnType<typeof silent>[]) =>
    play([...probes(5, 85, name), ...more], 95).at(-1)?.belief.code;
  t.equal(code('stuck'), 'STORAGE_TIMEOUT');
  t.equal(code('stuck', silent(50, 'timeout')), 'STORAGE_UNREACHABLE');
  t.equal(
    code('eio', silent(50, 'refused')),
    'STORAGE_UNREACHABLE',
    'what a soft mount says of a server that is gone',
  );
  t.equal(code('eio', booted(50, 'b')), 'STORAGE_ERROR');
  t.equal(code('eacces', silent(50, 'denied')), 'STORAGE_DENIED');
  t.equal(code('stale'), 'STORAGE_STALE');
  t.equal(code('empty'), 'STORAGE_EMPTIED');
  const { belief } = play(probes(5, 85, 'empty'), 95).at(-1) ?? { belief: undefined };
  t.equal(belief && hasOtherContent(belief), false, 'nobody may begin anew on what only looks empty');
});

test('a loss ends with two good reads in a row, since a cache may show an old value once', async (t) => {
  const lost = probes(5, 90, 'stuck');
  const changes = play([...lost, probe(100, 'good'), probe(105, 'gone'), probe(110, 'gone')], 111);
  t.same(told(changes).slice(2), ['90 lost limit STORAGE_TIMEOUT', '110 lost emptied STORAGE_EMPTIED']);
  t.equal(changes.at(-1)?.belief.sinceMs, 90_000, 'a proof sharpens a loss and does not begin it again');
  const back = play([...lost, probe(100, 'good'), probe(105, 'good')], 106);
  t.equal(told(back).at(-1), '105 trusted reads-back');
  t.same(back.at(-1)?.belief.after, { verdict: 'lost', lastedMs: 15_000 });
});

test('expectEpoch() ends a loss only when the volume reads the new epoch back', async (t) => {
  const gone = play(probes(5, 10, 'gone'), 11).at(-1);
  if (gone === undefined) throw new TypeError('it never changes');
  t.equal(hasOtherContent(gone.belief), true);
  const from = expectEpoch(gone.now, 'another-epoch');
  t.equal(from.belief.verdict, 'lost');
  t.equal(
    told(play([probe(12, 'other'), probe(14, 'good')], 15, { from })).length,
    1,
    'the old value is other now',
  );
  t.equal(told(play([probe(12, 'other'), probe(17, 'other')], 18, { from })).at(-1), '17 trusted reads-back');
  t.equal(expectEpoch(from, 'another-epoch'), from, 'said again, it changes nothing');
});

test('openCase() without an epoch is stalled as long as the volume answers, until one is expected', async (t) => {
  const from = openCase({ atMs: 0 });
  const waiting = play([...probes(5, 200, 'gone'), ...probes(205, 400, 'good')], 401, { from });
  t.same(told(waiting), ['0 stalled unread STORAGE_TIMEOUT']);
  t.equal(weigh(expectEpoch(from, ours), probe(5, 'good'), limits).belief.verdict, 'trusted');
  t.equal(told(play([probe(5, 'stuck')], 95, { from })).at(-1), '90 lost limit STORAGE_TIMEOUT');
});

test('a canary that fails stalls a mount that reads, and never loses it', async (t) => {
  const reads = probes(1, 400, 'good');
  for (const answer of [
    { is: 'missed', afterMs: 30_000 },
    { is: 'differs', says: 'x' },
    errno('EIO'),
    errno('ESTALE'),
  ] as const) {
    const changes = play([...reads, canary(50, answer), canary(300, { is: 'ok' })], 400);
    t.match(told(changes), [trusted, /^50 stalled writes-fail/, '300 trusted reads-back']);
  }
  for (const name of ['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM'] as const) {
    t.same(told(play([...reads, canary(50, errno(name))], 400)), [trusted], `${name} is no matter of trust`);
  }
});

test('a canary that hung in an outage does not outlast it', async (t) => {
  const outage = [canary(6, { is: 'missed', afterMs: 5000 }), probe(7, 'stuck'), canary(9, errno('EIO'))];
  const changes = play([...outage, probe(30, 'good')], 31);
  t.equal(told(changes).at(-1), '30 trusted reads-back');
});

test('a watcher that slept has seen nothing: the time counts no more than the longest silence', async (t) => {
  const asleep = elapse(openCase({ atMs: 0, epoch: ours }), 3_600_000, limits);
  t.match(asleep.belief, { verdict: 'stalled', rule: 'silence' });
  t.equal(weigh(asleep, probe(3601, 'good'), limits).belief.verdict, 'trusted');
  const stuck = play([probe(3605, 'stuck')], 3700, { from: asleep });
  t.equal(told(stuck).at(-1), '3675 lost limit STORAGE_TIMEOUT');
});

test('the same belief is the same object, so that whoever listens hears of changes alone', async (t) => {
  const before = weigh(openCase({ atMs: 0, epoch: ours }), probe(5, 'stuck'), limits);
  t.equal(weigh(before, probe(10, 'stuck'), limits).belief, before.belief);
});

test('meaningOfProbe() takes another errno before ESTALE', async (t) => {
  t.equal(meaningOfProbe(probe(0, 'unexported'), ours).is, 'error');
  t.equal(meaningOfProbe(probe(0, 'staleEpoch'), ours).is, 'stale');
});

test('every rule has a sentence, a verdict and a reason that stand alone', async (t) => {
  const now = openCase({ atMs: 0, epoch: ours });
  for (const rule of Object.keys(MOUNT_RULES) as (keyof typeof MOUNT_RULES)[]) {
    t.match(sentenceFor(rule, now), /^[a-z].*[^.]$/, rule);
    t.not(MOUNT_RULES[rule].why, '', rule);
  }
  t.equal(SERVER_FAILURES.unsupported, 'speaks', 'a server without version 4.1 is not away');
});
