/** List and watch through everything that ends or bends them, against a real server with a history of objects. */
import fc from 'fast-check';
import { test } from 'tap';
import type { ApiEvent } from '../../../src/executors/kubernetes/api-call.ts';
import { ApiRefusal } from '../../../src/executors/kubernetes/api-error.ts';
import { KubeConnection } from '../../../src/executors/kubernetes/connection.ts';
import { LineJoiner } from '../../../src/executors/kubernetes/line-joiner.ts';
import {
  ResourceWatch,
  type ResourceWatchOptions,
} from '../../../src/executors/kubernetes/resource-watch.ts';
import { SilentStream, untilSilent } from '../../../src/executors/kubernetes/silence.ts';
import { BrokenEvent, parseWatchEvent } from '../../../src/executors/kubernetes/watch-event.ts';
import { WatchedObjects } from '../../../src/executors/kubernetes/watched-objects.ts';
import { eventually } from '../../harness/eventually.ts';
import { FakeApiServer } from '../../harness/fake-api-server.ts';
import { FakeObjects, type FakeObject } from '../../harness/fake-objects.ts';

type Test = { teardown: (work: () => unknown) => void };

interface Setting {
  readonly server: FakeApiServer;
  readonly objects: FakeObjects;
  readonly watch: ResourceWatch<number, FakeObject>;
  readonly told: string[];
  readonly restarts: string[];
  readonly events: ApiEvent[];
}

async function setting(
  t: Test,
  options: Partial<ResourceWatchOptions<FakeObject, number>> & {
    before?: (server: FakeApiServer) => void;
  } = {},
): Promise<Setting> {
  const server = await FakeApiServer.start(t);
  const objects = new FakeObjects();
  server.answer = (exchange) => objects.answer(exchange);
  options.before?.(server);
  const events: ApiEvent[] = [];
  const restarts: string[] = [];
  const told: string[] = [];
  const observe = (event: ApiEvent): void => {
    if (event.type === 'watch-restart') restarts.push(event.reason);
    events.push(event);
  };
  const kubeconfig = server.kubeconfig({ token: 'x' });
  const connection = await KubeConnection.open({ kubeconfig, requestDeadlineMs: 500, observe });
  const watch = new ResourceWatch<number, FakeObject>({
    connection,
    resource: 'pods',
    query: { labelSelector: 'group=a' },
    keep: ({ value }) => value,
    changed: (name, now, before) => told.push(`${name} ${before ?? '-'}>${now ?? '-'}`),
    observe,
    longestPauseMs: 200,
    ...options,
  });
  t.teardown(async () => {
    await watch.close();
    await connection.close();
  });
  return { server, objects, watch, told, restarts, events };
}

/** Waits until the watch knows what the server knows. */
async function agrees({ objects, watch }: Setting): Promise<void> {
  const there = (): string =>
    [...objects.objects]
      .map(([name, { value }]) => `${name}=${value}`)
      .sort()
      .join();
  await eventually(
    () =>
      there() ===
      [...watch.objects]
        .map(([name, value]) => `${name}=${value}`)
        .sort()
        .join(),
  );
}

test('ResourceWatch lists in pages, then tells every change once and in order', async (t) => {
  const s = await setting(t);
  s.objects.put('late', 0);
  await agrees(s);
  await eventually(() => s.objects.watchers.size === 1);
  s.objects.put('a', 1);
  s.objects.put('a', 2);
  s.objects.remove('a');
  s.objects.put('b', 3);
  await eventually(() => s.told.at(-1) === 'b ->3');
  t.same(s.told, ['late ->0', 'a ->1', 'a 1>2', 'a 2>-', 'b ->3']);
  t.equal(s.watch.synced, true);
  t.ok(Math.abs(Date.now() - s.watch.lastHeardMs) < 60_000);
  t.same(s.restarts, []);
  const watchCall = s.server.calls.find(({ query }) => 'watch' in query);
  t.match(watchCall?.query, {
    labelSelector: 'group=a',
    allowWatchBookmarks: 'true',
    timeoutSeconds: /^(2[4-9]\d|300)$/,
  });
});

test('ResourceWatch reads a list of several pages whole before it tells of it', async (t) => {
  const objects = new FakeObjects();
  objects.pageLimit = 3;
  for (let index = 0; index < 10; index += 1) objects.put(`p${index}`, index);
  const s = await setting(t, {
    before: (server) => (server.answer = (exchange) => objects.answer(exchange)),
  });
  t.equal(await s.watch.whenSynced(10_000), true);
  t.equal(s.watch.objects.size, 10);
  const lists = s.server.calls.filter(({ query }) => !('watch' in query));
  t.same(
    lists.map(({ query }) => query['continue']),
    [undefined, '3', '6', '9'],
  );
  t.same([...new Set(lists.map(({ query }) => query['limit']))], ['500']);
});

test('whenSynced() is false at its deadline and when the watch is closed, while the server is away', async (t) => {
  const s = await setting(t, { before: (server) => (server.answer = () => undefined) });
  t.equal(await s.watch.whenSynced(50), false);
  const waiting = s.watch.whenSynced(60_000);
  await s.watch.close();
  t.equal(await waiting, false);
  t.equal(s.watch.synced, false);
  t.equal(s.watch.lastHeardMs, 0);
});

/** How a watch may end, and what is counted then. */
const endings = {
  ended: 'a clean end',
  reset: 'a reset',
  silent: 'silence',
  broken: 'JSON that is cut in the middle',
  garbage: 'a line that is no event',
  expired: 'an ERROR event with 410',
  refused: 'an ERROR event with 500',
} as const;

for (const [how, words] of Object.entries(endings) as [keyof typeof endings, string][]) {
  test(`ResourceWatch goes on after ${words} and loses nothing`, async (t) => {
    const s = await setting(t, how === 'silent' ? { silenceMs: 150 } : {});
    s.objects.put('a', 1);
    s.objects.put('b', 1);
    await agrees(s);
    await eventually(() => s.objects.watchers.size === 1);
    s.objects.disturb((watcher) => {
      const status = (code: number): string =>
        `${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code, reason: 'R', message: 'm' } })}\n`;
      if (how === 'ended') watcher.end();
      else if (how === 'reset') watcher.reset();
      else if (how === 'broken') watcher.end('{"type":"ADDED","object":{"metadata":{"name":"cut');
      else if (how === 'garbage') void watcher.write('[1,2]\n');
      else if (how === 'expired') void watcher.write(status(410));
      else if (how === 'refused') void watcher.write(status(500));
    });
    s.objects.put('a', 2);
    s.objects.remove('b');
    s.objects.put('c', 3);
    await agrees(s);
    const expected = how === 'garbage' ? 'broken' : how;
    await eventually(() => s.restarts[0] === expected);
    t.same(s.told.slice(2).sort(), ['a 1>2', 'b 1>-', 'c ->3']);
    const lists = s.server.calls.filter(({ query }) => !('watch' in query)).length;
    t.equal(lists, how === 'expired' ? 2 : 1);
  });
}

test('ResourceWatch that is kept awake by bookmarks alone is not silent, and goes on from the last one', async (t) => {
  const s = await setting(t, { silenceMs: 1000 });
  s.objects.put('a', 1);
  await agrees(s);
  const until = performance.now() + 2500;
  await eventually(() => {
    s.objects.advance();
    s.objects.bookmark();
    return performance.now() > until;
  });
  t.same(s.restarts, []);
  s.objects.forget();
  s.objects.disturb((watcher) => watcher.end());
  s.objects.put('a', 2);
  await agrees(s);
  t.same(s.restarts, ['ended'], 'the place of the bookmark is still known, so nothing is listed anew');
});

test('ResourceWatch lists anew when a watch is answered 410, and tells what went and what was replaced meanwhile', async (t) => {
  const s = await setting(t);
  for (const name of ['gone', 'same', 'replaced']) s.objects.put(name, 1);
  await agrees(s);
  await eventually(() => s.objects.watchers.size === 1);
  // Nothing of this reaches the watch, and the server forgets it.
  const open = [...s.objects.watchers];
  s.objects.watchers.clear();
  s.objects.remove('gone');
  s.objects.remove('replaced');
  s.objects.put('replaced', 1);
  s.objects.put('new', 1);
  s.objects.forget();
  open.forEach((watcher) => watcher.end());
  await agrees(s);
  await eventually(() => s.told.length === 7);
  t.same(s.restarts, ['ended', 'expired']);
  t.same(s.told.slice(3), ['gone 1>-', 'replaced 1>-', 'replaced ->1', 'new ->1']);
});

test('ResourceWatch outlives a server that is away and says how old its knowledge is', async (t) => {
  const s = await setting(t);
  s.objects.put('a', 1);
  await agrees(s);
  await s.server.stop();
  await eventually(() => s.restarts.length >= 3);
  const heard = s.watch.lastHeardMs;
  t.equal(s.watch.synced, true);
  t.equal(s.watch.objects.get('a'), 1);
  s.objects.remove('a');
  s.objects.put('b', 2);
  await s.server.listen();
  await agrees(s);
  t.ok(s.watch.lastHeardMs >= heard);
});

test('ResourceWatch waits for a right that is missing, and says so', async (t) => {
  const forbidden =
    'pods is forbidden: User "a" cannot list resource "pods" in API group "" in the namespace "team"';
  const s = await setting(t, {
    before: (server) => (server.answer = (exchange) => exchange.refuse(403, 'Forbidden', forbidden)),
  });
  await eventually(() => s.restarts.length >= 2);
  t.equal(s.restarts[0], 'refused');
  t.match(
    s.events.find(({ type }) => type === 'watch-restart'),
    { error: { code: 'CLUSTER_FORBIDDEN' } },
  );
  s.server.answer = (exchange) => s.objects.answer(exchange);
  t.equal(await s.watch.whenSynced(10_000), true);
});

test('ResourceWatch lists anew after a watch was refused three times in a row', async (t) => {
  const s = await setting(t);
  s.objects.put('a', 1);
  await agrees(s);
  await eventually(() => s.objects.watchers.size === 1);
  let refusals = 0;
  s.server.answer = (exchange) => {
    if (!('watch' in exchange.call.query) || refusals === 3) return s.objects.answer(exchange);
    refusals += 1;
    exchange.refuse(504, 'Timeout', 'Too large resource version: 900, current: 3');
  };
  s.objects.disturb((watcher) => watcher.end());
  s.objects.put('b', 1);
  await agrees(s);
  t.same(s.restarts, ['ended', 'refused', 'refused', 'refused']);
  t.equal(s.server.calls.filter(({ query }) => !('watch' in query)).length, 2);
});

test('ResourceWatch goes on after a callback that throws, which is told', async (t) => {
  const told: string[] = [];
  const s = await setting(t, {
    changed: (name) => {
      told.push(name);
      throw new Error(`no ${name}`);
    },
    keep: ({ value }) => {
      if (value === 13) throw new Error('unlucky');
      return value;
    },
  });
  s.objects.put('a', 1);
  await agrees(s);
  await eventually(() => s.objects.watchers.size === 1);
  s.objects.put('b', 13);
  s.objects.put('c', 3);
  await eventually(() => told.includes('c'));
  t.same(told, ['a', 'c']);
  const errors = s.events.flatMap((event) => (event.type === 'callback-failed' ? [String(event.error)] : []));
  t.same(errors, ['Error: no a', 'Error: unlucky', 'Error: no c']);
  t.same(s.restarts, []);
});

test('close() ends a watch in the middle of whatever it does, and nothing is told afterwards', async (t) => {
  const s = await setting(t);
  s.objects.put('a', 1);
  await agrees(s);
  await eventually(() => s.objects.watchers.size === 1);
  await s.watch.close();
  await eventually(() => s.objects.watchers.size === 0);
  s.objects.put('a', 2);
  await s.watch.close();
  t.equal(s.watch.objects.get('a'), 1);
});

test('ResourceWatch ends with what the server has, whatever happened on the way', async (t) => {
  const names = fc.constantFrom('a', 'b', 'c');
  const step = fc.oneof(
    fc.tuple(fc.constant('put' as const), names, fc.nat(9)),
    fc.tuple(fc.constant('remove' as const), names),
    fc.constantFrom(['end'] as const, ['reset'] as const, ['cut'] as const, ['forget'] as const),
    fc.constant(['settle'] as const),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const undo: (() => unknown)[] = [];
      const s = await setting({ teardown: (work) => undo.unshift(work) }, { longestPauseMs: 1 });
      // What was told, applied one by one, must be what is there: no change lost, none doubled, none out of order.
      try {
        for (const [what, name = '', value = 0] of steps) {
          if (what === 'put') s.objects.put(name, value);
          else if (what === 'remove') s.objects.remove(name);
          else if (what === 'end') s.objects.disturb((watcher) => watcher.end());
          else if (what === 'reset') s.objects.disturb((watcher) => watcher.reset());
          else if (what === 'cut') s.objects.disturb((watcher) => watcher.end('{"type":"ADD'));
          else if (what === 'forget') s.objects.forget();
          else await agrees(s);
        }
        await agrees(s);
        const replayed = new Map<string, string>();
        for (const line of s.told) {
          const [, name = '', before = '', now = ''] = /^(\S+) (\S+)>(\S+)$/.exec(line) ?? [];
          if (before !== (replayed.get(name) ?? '-') && now !== '-') return false;
          replayed.set(name, now);
        }
        return [...s.watch.objects].every(([name, value]) => replayed.get(name) === String(value));
      } finally {
        for (const work of undo) await work();
      }
    }),
    { numRuns: 15 },
  );
  t.pass();
});

test('WatchedObjects tells the last state of what is deleted, and forgets what is no longer of interest', async (t) => {
  const told: unknown[] = [];
  const objects = new WatchedObjects<FakeObject, number>({
    keep: ({ value }) => (value < 0 ? undefined : value),
    changed: (...change) => told.push(change),
    failed: (error) => t.fail(String(error)),
  });
  const object = (value: number, resourceVersion: string): FakeObject => ({
    metadata: { name: 'a', uid: 'u', resourceVersion },
    value,
  });
  objects.apply(object(1, '1'), false);
  objects.apply(object(1, '1'), false);
  objects.apply(object(7, '2'), true);
  objects.apply(object(7, '2'), true);
  objects.apply(object(1, '3'), false);
  objects.apply(object(-1, '4'), false);
  t.same(told, [
    ['a', 1, undefined],
    ['a', undefined, 7],
    ['a', 1, undefined],
    ['a', undefined, 1],
  ]);
  t.equal(objects.kept.size, 0);
});

test('parseWatchEvent() gives events, throws the status of an ERROR, and refuses everything else', async (t) => {
  const metadata = { resourceVersion: '7' };
  t.same(parseWatchEvent(JSON.stringify({ type: 'BOOKMARK', object: { metadata } })), {
    type: 'BOOKMARK',
    object: { metadata },
  });
  t.throws(
    () => parseWatchEvent('{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"old"}}'),
    {
      status: 410,
      reason: 'Expired',
      message: 'old',
    },
  );
  t.throws(() => parseWatchEvent('{"type":"ERROR"}'), ApiRefusal);
  for (const line of ['', 'x', 'null', '7', '{}', '{"type":"ADDED"}', '{"type":"NEWS","object":{}}'])
    t.throws(() => parseWatchEvent(line), BrokenEvent, line);
});

test('LineJoiner makes the same lines of any chunks, holds no more than its limit, and says what it cut', async (t) => {
  const line = fc.string({ unit: 'binary-ascii', maxLength: 30 }).map((text) => text.replaceAll('\n', ' '));
  fc.assert(
    fc.property(
      fc.array(line),
      line,
      fc.array(fc.nat(40)),
      fc.integer({ min: 1, max: 40 }),
      (lines, rest, cuts, max) => {
        const whole = Buffer.from([...lines, rest].join('\n'), 'latin1');
        const joiner = new LineJoiner(max);
        const joined = [];
        let at = 0;
        for (const cut of cuts) {
          joined.push(...joiner.push(whole.subarray(at, at + cut)));
          at += cut;
        }
        joined.push(...joiner.push(whole.subarray(at)), joiner.take());
        const expected = [...lines, rest].map((text) => [text.slice(0, max), text.length > max]);
        t.same(
          joined.map(({ bytes, cut }) => [bytes.toString('latin1'), cut]),
          expected,
        );
      },
    ),
  );
});

test('untilSilent() gives chunks on, ends with its source, and cuts what is silent, also where that never returns', async (t) => {
  async function* source(): AsyncGenerator<Buffer> {
    yield Buffer.from('a');
    yield Buffer.from('b');
  }
  const got: string[] = [];
  for await (const chunk of untilSilent(source(), 1000, () => t.fail('it was not silent')))
    got.push(String(chunk));
  t.same(got, ['a', 'b']);
  const dead: AsyncIterable<Buffer> = {
    [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => undefined) }),
  };
  let cuts = 0;
  await t.rejects(untilSilent(dead, 5, () => (cuts += 1)).next(), SilentStream);
  t.equal(cuts, 1);
});
