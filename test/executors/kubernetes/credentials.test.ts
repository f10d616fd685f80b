/** Where credentials come from, how long they are believed, and the small clocks of every call. */
import { test } from 'tap';
import { Backoff } from '../../../src/executors/kubernetes/backoff.ts';
import {
  CredentialCache,
  type Credentials,
  type CredentialSource,
} from '../../../src/executors/kubernetes/credentials.ts';
import { DeadlinePassed, withDeadline } from '../../../src/executors/kubernetes/deadline.ts';
import { Dispatchers } from '../../../src/executors/kubernetes/dispatchers.ts';
import { Kubeconfig } from '../../../src/executors/kubernetes/kubeconfig.ts';
import { ServiceAccount } from '../../../src/executors/kubernetes/service-account.ts';
import { FakeApiServer } from '../../harness/fake-api-server.ts';
import { TEST_PAIRS } from '../../harness/test-certificates.ts';

function sourceOf(load: () => Promise<Credentials>): CredentialSource {
  return { server: new URL('https://api'), namespace: undefined, load, forget: () => undefined };
}

test('current() reads once for all who ask, again after renew(), and again after a reading that failed', async (t) => {
  let reads = 0;
  let isBroken = false;
  const cache = new CredentialCache(
    sourceOf(async () => {
      reads += 1;
      if (isBroken) throw new Error('no such file');
      return { headers: { n: String(reads) }, tls: {} };
    }),
  );
  const [first, second] = await Promise.all([cache.current(), cache.current()]);
  t.equal(first, second);
  cache.renew();
  t.equal((await cache.current()).headers['n'], '2');
  isBroken = true;
  cache.renew();
  await t.rejects(cache.current(), { message: 'no such file' });
  isBroken = false;
  t.equal((await cache.current()).headers['n'], '4');
});

test('ServiceAccount reads token and CA at every load', async (t) => {
  const server = await FakeApiServer.start(t);
  const account = await ServiceAccount.open(server.url, server.serviceAccount('one\n'));
  t.same(await account.load(), {
    headers: { authorization: 'Bearer one' },
    tls: { ca: TEST_PAIRS.first.cert },
  });
  server.serviceAccount('two', TEST_PAIRS.second);
  account.forget();
  t.same(await account.load(), {
    headers: { authorization: 'Bearer two' },
    tls: { ca: TEST_PAIRS.second.cert },
  });
});

test('Kubeconfig reads a token that changed only after forget()', async (t) => {
  const server = await FakeApiServer.start(t);
  const config = await Kubeconfig.open(server.kubeconfig({ token: 'one' }));
  server.kubeconfig({ token: 'two' });
  t.equal((await config.load()).headers['authorization'], 'Bearer one');
  config.forget();
  t.equal((await config.load()).headers['authorization'], 'Bearer two');
});

test('for() keeps its connections while the certificates are the same, apart for calls and streams', async (t) => {
  const dispatchers = new Dispatchers('https://127.0.0.1:1');
  t.teardown(() => dispatchers.close());
  const calls = dispatchers.for({ ca: 'a' }, 'calls');
  t.equal(dispatchers.for({ ca: 'a' }, 'calls'), calls);
  t.not(dispatchers.for({ ca: 'a' }, 'streams'), calls);
  t.not(dispatchers.for({ ca: 'b' }, 'calls'), calls);
});

test('withDeadline() returns with the work, and without it at the deadline or when the signal aborts', async (t) => {
  const never = new Promise<never>(() => undefined);
  t.equal(await withDeadline({ deadlineMs: 1000 }, async () => 7), 7);
  await t.rejects(
    withDeadline({ deadlineMs: 5 }, () => never),
    DeadlinePassed,
  );
  const stopping = new AbortController();
  let inner: AbortSignal | undefined;
  const work = withDeadline({ deadlineMs: 60_000, signal: stopping.signal }, (signal) => {
    inner = signal;
    return never;
  });
  stopping.abort('a word that is no error');
  await t.rejects(work, { message: 'aborted', cause: 'a word that is no error' });
  t.equal(inner?.aborted, true);
  await t.rejects(withDeadline({ deadlineMs: 1, signal: stopping.signal }, async () => 7));
});

test('pause() doubles up to its limit, begins anew after reset(), and ends when woken or aborted', async (t) => {
  const { signal } = new AbortController();
  const backoff = new Backoff(300);
  const timed = async (): Promise<number> => {
    const beganAt = performance.now();
    await backoff.pause(signal);
    return performance.now() - beganAt;
  };
  t.ok((await timed()) >= 98, 'at least half of the first pause');
  t.ok((await timed()) >= 148, 'at least half of the limit');
  backoff.wake();
  t.ok((await timed()) < 90, 'news that came before spares a pause');
  const slow = new Backoff();
  const asleep = slow.pause(signal, 600_000);
  slow.wake();
  await asleep;
  const stopping = new AbortController();
  const stopped = slow.pause(stopping.signal, 600_000);
  stopping.abort();
  await stopped;
  await slow.pause(stopping.signal, 600_000);
  t.pass('neither waits for ten minutes');
});
