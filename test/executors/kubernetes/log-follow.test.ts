/** Following one container's log: every line once and in order, through everything that ends or bends the answers. */
import fc from 'fast-check';
import { test } from 'tap';
import type { ApiEvent } from '../../../src/executors/kubernetes/api-call.ts';
import { KubeConnection } from '../../../src/executors/kubernetes/connection.ts';
import { LogFollow, type LogFollowOptions } from '../../../src/executors/kubernetes/log-follow.ts';
import { LogLines } from '../../../src/executors/kubernetes/log-lines.ts';
import { LogPosition, parseStampedLine } from '../../../src/executors/kubernetes/log-stamp.ts';
import { eventually } from '../../harness/eventually.ts';
import { FakeApiServer } from '../../harness/fake-api-server.ts';
import { FakeLog, stampOf } from '../../harness/fake-log.ts';

type Test = { teardown: (work: () => unknown) => void };

interface Setting {
  readonly server: FakeApiServer;
  readonly log: FakeLog;
  readonly follow: LogFollow;
  readonly events: ApiEvent[];
  /** What was given out, as lines. */
  readonly taken: () => string[];
  readonly restarts: () => string[];
}

async function setting(
  t: Test,
  options: Partial<LogFollowOptions> & { before?: (server: FakeApiServer, log: FakeLog) => void } = {},
): Promise<Setting> {
  const server = await FakeApiServer.start(t);
  const log = new FakeLog();
  server.answer = (exchange) => log.answer(exchange);
  options.before?.(server, log);
  const events: ApiEvent[] = [];
  const observe = (event: ApiEvent): unknown => events.push(event);
  const kubeconfig = server.kubeconfig({ token: 'x' });
  const connection = await KubeConnection.open({ kubeconfig, requestDeadlineMs: 500, observe });
  let text = '';
  const follow = new LogFollow({
    connection,
    pod: 'ls-a',
    container: 'script',
    take: (lines) => void (text += lines.toString()),
    isOver: () => log.isOver,
    observe,
    longestPauseMs: 100,
    connectDeadlineMs: 500,
    ...options,
  });
  t.teardown(async () => {
    await follow.close();
    await connection.close();
  });
  const taken = (): string[] => text.split('\n').slice(0, -1);
  const restarts = (): string[] =>
    events.flatMap((event) => (event.type === 'log-restart' ? [event.reason] : []));
  return { server, log, follow, events, taken, restarts };
}

/** Waits until so many lines were given out. */
async function arrived({ taken }: Setting, count: number): Promise<void> {
  await eventually(() => taken().length >= count);
}

const numbered = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, index) => `line ${from + index}`);

test('LogFollow gives lines as they are written, and is complete when a last look brings nothing new', async (t) => {
  const s = await setting(t);
  s.log.write(numbered(1, 3));
  await arrived(s, 3);
  s.log.write(['', 'with spaces  ', 'ünï']);
  await arrived(s, 6);
  s.log.finish();
  s.follow.wake();
  t.same(await s.follow.done, { reason: 'complete' });
  t.same(s.taken(), ['line 1', 'line 2', 'line 3', '', 'with spaces  ', 'ünï']);
  t.same(
    s.server.calls.map(({ path, query }) => [path, query['container'], query['follow'], query['timestamps']]),
    [
      ['/api/v1/namespaces/team/pods/ls-a/log', 'script', 'true', 'true'],
      ['/api/v1/namespaces/team/pods/ls-a/log', 'script', undefined, 'true'],
    ],
  );
  t.same(s.restarts(), []);
  t.match(
    s.events.find(({ type }) => type === 'log-lag'),
    { seconds: Number },
  );
});

for (const how of ['reset', 'ended', 'silent'] as const) {
  test(`LogFollow goes on after an answer that is ${how}, with no line lost or doubled`, async (t) => {
    const s = await setting(t, how === 'silent' ? { silenceMs: 150 } : {});
    // All in one second, some at the same instant: the API server knows whole seconds only.
    s.log.write(numbered(1, 3), 0n);
    await arrived(s, 3);
    s.log.disturb((reader) => {
      if (how === 'reset') reader.reset();
      else if (how === 'ended') reader.end();
    });
    s.log.write(numbered(4, 6), 0n);
    s.log.write(numbered(7, 9));
    await arrived(s, 9);
    t.same(s.taken(), numbered(1, 9));
    t.equal(s.restarts()[0], how);
    t.equal(s.server.calls[1]?.query['sinceTime'], stampOf(s.log.entries[2]?.at ?? 0n));
  });
}

test('LogFollow that is cut in the middle of a line gives that line once and whole', async (t) => {
  const s = await setting(t);
  s.log.write(['first']);
  await arrived(s, 1);
  s.log.disturb(
    (reader) => void reader.write(`${stampOf(s.log.now + 5n)} the second li`).then(() => reader.reset()),
  );
  s.log.now += 5n;
  s.log.write(['the second line', 'third'], 0n);
  await arrived(s, 3);
  t.same(s.taken(), ['first', 'the second line', 'third']);
});

test('LogFollow waits while the container is not up, and until a kubelet knows the pod', async (t) => {
  const answers: [number, string, string][] = [
    [400, 'BadRequest', 'container "script" in pod "ls-a" is waiting to start: ContainerCreating'],
    [400, 'BadRequest', 'container "script" in pod "ls-a" is waiting to start: PodInitializing'],
    [404, 'NotFound', 'the server could not find the requested resource ( pods/log ls-a)'],
    [
      500,
      'InternalError',
      'Get "https://10.0.0.2:10250/containerLogs/…": dial tcp 10.0.0.2:10250: connect: connection refused',
    ],
  ];
  const s = await setting(t, {
    before: (server, log) => {
      server.answer = (exchange) => {
        const [code, reason, message] = answers.shift() ?? [];
        return code ? exchange.refuse(code, reason ?? '', message ?? '') : log.answer(exchange);
      };
    },
  });
  s.log.write(['up']);
  await arrived(s, 1);
  t.same(s.restarts(), ['refused', 'refused'], 'a container that is not up yet is no trouble');
});

test('wake() ends a pause: the first line of a container that has come up does not wait', async (t) => {
  const s = await setting(t, {
    longestPauseMs: 600_000,
    before: (server) =>
      (server.answer = (exchange) => exchange.refuse(400, 'BadRequest', 'waiting to start')),
  });
  // Until the pauses are longer than this test.
  for (let calls = 1; calls < 14; calls += 1) {
    await eventually(() => s.server.calls.length >= calls);
    s.follow.wake();
  }
  s.log.write(['up']);
  s.server.answer = (exchange) => s.log.answer(exchange);
  await eventually(() => {
    s.follow.wake();
    return s.taken().length === 1;
  });
  t.same(s.taken(), ['up']);
});

test('awayMs is 0 while an answer is open, and grows while there is none', async (t) => {
  const s = await setting(t);
  s.log.write(['a']);
  await arrived(s, 1);
  t.equal(s.follow.awayMs, 0);
  await s.server.stop();
  await eventually(() => s.follow.awayMs > 20);
  await s.server.listen();
  await eventually(() => s.follow.awayMs === 0);
});

test('LogFollow ends when the pod is gone', async (t) => {
  const s = await setting(t);
  s.log.write(['a']);
  await arrived(s, 1);
  s.server.answer = (exchange) => exchange.refuse(404, 'NotFound', 'pods "ls-a" not found');
  s.log.disturb((reader) => reader.end());
  t.same(await s.follow.done, { reason: 'gone' });
});

test('LogFollow outlives an API server that is away, and reads what was written meanwhile', async (t) => {
  const s = await setting(t);
  s.log.write(numbered(1, 2));
  await arrived(s, 2);
  await s.server.stop();
  s.log.readers.clear();
  s.log.write(numbered(3, 500));
  await eventually(() => s.restarts().length >= 3);
  await s.server.listen();
  await arrived(s, 500);
  s.log.finish();
  s.follow.wake();
  t.same(await s.follow.done, { reason: 'complete' });
  t.same(s.taken(), numbered(1, 500));
});

test('LogFollow gives what is left after the node put older lines away', async (t) => {
  const s = await setting(t);
  s.log.write(numbered(1, 5));
  await arrived(s, 5);
  await s.server.stop();
  s.log.readers.clear();
  s.log.write(numbered(6, 100));
  s.log.rotate(20);
  await s.server.listen();
  await arrived(s, 25);
  t.same(s.taken(), [...numbered(1, 5), ...numbered(81, 100)]);
});

test('LogFollow loses no line when the clock of the node is set back', async (t) => {
  const s = await setting(t);
  s.log.write(numbered(1, 5), 1_000_000_000n);
  await arrived(s, 5);
  s.log.now -= 3_600_000_000_000n;
  s.log.write(numbered(6, 8), 1_000_000_000n);
  await arrived(s, 8);
  s.log.disturb((reader) => reader.reset());
  s.log.write(numbered(9, 10), 1_000_000_000n);
  await eventually(() => s.taken().includes('line 10'));
  t.same([...new Set(s.taken())], numbered(1, 10));
});

for (const place of ['between two lines', 'in the middle of a line'] as const)
  test(`LogFollow does not believe an end that a broken kubelet made ${place}`, async (t) => {
    const s = await setting(t);
    s.log.write(numbered(1, 3));
    await arrived(s, 3);
    // This does not come by the stream any more.
    const [reader] = s.log.readers;
    s.log.readers.clear();
    s.log.write(numbered(4, 6));
    let tails = 0;
    s.server.answer = async (exchange) => {
      tails += 1;
      if (tails !== 1) return s.log.answer(exchange);
      // In good order, and yet too early.
      exchange.begin();
      const [, , , fourth, fifth] = s.log.entries.map(({ at }) => stampOf(at));
      await exchange.write(`${fourth} line 4\n${place === 'between two lines' ? '' : `${fifth} li`}`);
      exchange.end();
    };
    s.log.isOver = true;
    reader?.reset();
    s.follow.wake();
    t.same(await s.follow.done, { reason: 'complete' });
    t.same(s.taken(), numbered(1, 6));
  });

test('LogFollow gives last words that have no end of line, with one', async (t) => {
  const s = await setting(t);
  s.log.write(['a']);
  await arrived(s, 1);
  const words = `${stampOf(s.log.now + 9n)} last words`;
  s.server.answer = (exchange) => {
    exchange.begin();
    exchange.end(words);
  };
  s.log.finish();
  s.follow.wake();
  t.same(await s.follow.done, { reason: 'complete' });
  t.same(s.taken(), ['a', 'last words']);
});

test('LogFollow does not wait for a dead connection while nobody would say that the container has ended', async (t) => {
  let isDoubtful = true;
  const s = await setting(t, { silenceAfterEndMs: 100, isDoubtful: () => isDoubtful });
  s.log.write(['a']);
  await arrived(s, 1);
  s.log.readers.clear();
  s.log.write(['b']);
  s.follow.wake();
  await arrived(s, 2);
  t.same(s.restarts(), ['silent']);
  s.follow.wake();
  isDoubtful = false;
  const since = performance.now();
  await eventually(() => performance.now() - since > 300);
  t.same(s.restarts(), ['silent'], 'who is known to live may be silent');
});

test('LogFollow does not wait for a dead connection when the container has ended', async (t) => {
  const s = await setting(t, { silenceAfterEndMs: 100 });
  s.log.write(['a']);
  await arrived(s, 1);
  s.log.readers.clear();
  s.log.write(['b']);
  s.log.isOver = true;
  s.follow.wake();
  t.same(await s.follow.done, { reason: 'complete' });
  t.same(s.taken(), ['a', 'b']);
});

test('LogFollow is incomplete at its deadline when the rest of the log does not come', async (t) => {
  const s = await setting(t, { tailDeadlineMs: 300 });
  s.log.write(['a']);
  await arrived(s, 1);
  s.server.answer = (exchange) => exchange.refuse(502, 'BadGateway', 'dial tcp: no route to host');
  s.log.finish();
  s.follow.wake();
  t.match(await s.follow.done, { reason: 'incomplete', error: { status: 502, message: /no route/ } });
});

test('LogFollow gives the same lines again when they could not be taken, and waits while they are taken', async (t) => {
  const taken: string[] = [];
  let failures = 2;
  let inside = 0;
  const s = await setting(t, {
    take: async (lines) => {
      inside += 1;
      t.equal(inside, 1, 'one after the other');
      await new Promise(setImmediate);
      inside -= 1;
      if (failures > 0 && (failures -= 1) >= 0) throw new Error('ENOSPC');
      taken.push(...lines.toString().trimEnd().split('\n'));
    },
  });
  s.log.write(numbered(1, 4));
  await eventually(() => taken.length === 4);
  t.same(taken, numbered(1, 4));
  t.same(s.restarts(), ['not-taken', 'not-taken']);
});

test('LogFollow tells words of the kubelet apart from lines of the container', async (t) => {
  const s = await setting(t);
  s.log.write(['a']);
  await arrived(s, 1);
  s.log.disturb((reader) => reader.end('failed to watch file "/var/log/pods/x": too many open files\n'));
  s.log.write(['b']);
  await arrived(s, 2);
  t.same(s.taken(), ['a', 'b']);
  t.match(
    s.events.find(({ type }) => type === 'log-stray'),
    { pod: 'ls-a', text: /^failed to watch/ },
  );
});

test('close() ends a follow that reads, and one that waits', async (t) => {
  const reading = await setting(t);
  reading.log.write(['a']);
  await arrived(reading, 1);
  await reading.follow.close();
  t.same(await reading.follow.done, { reason: 'closed' });
  const waiting = await setting(t, { before: (server) => (server.answer = () => undefined) });
  await eventually(() => waiting.server.calls.length === 1);
  await waiting.follow.close();
  t.same(await waiting.follow.done, { reason: 'closed' });
});

test('LogFollow gives every line once, wherever connections break', async (t) => {
  const step = fc.oneof(
    fc.tuple(
      fc.constant('write' as const),
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom(0n, 1n, 700_000_000n),
    ),
    fc.constantFrom(['end'] as const, ['reset'] as const, ['settle'] as const),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 20 }), async (steps) => {
      const undo: (() => unknown)[] = [];
      const s = await setting({ teardown: (work) => undo.unshift(work) }, { longestPauseMs: 1 });
      let written = 0;
      try {
        for (const [what, count = 0, apart = 0n] of steps) {
          if (what === 'write') {
            s.log.write(numbered(written + 1, written + count), apart);
            written += count;
          } else if (what === 'end') s.log.disturb((reader) => reader.end());
          else if (what === 'reset') s.log.disturb((reader) => reader.reset());
          else await arrived(s, written);
        }
        s.log.finish();
        s.follow.wake();
        const { reason } = await s.follow.done;
        return reason === 'complete' && s.taken().join() === numbered(1, written).join();
      } finally {
        for (const work of undo) await work();
      }
    }),
    { numRuns: 15 },
  );
  t.pass();
});

test('parseStampedLine() reads what stampOf() writes, in any zone, and nothing else', async (t) => {
  const instant = fc.bigInt({ min: 0n, max: 4_000_000_000n * 1_000_000_000n });
  fc.assert(
    fc.property(instant, fc.uint8Array({ maxLength: 50 }), (at, bytes) => {
      const line = parseStampedLine(Buffer.concat([Buffer.from(`${stampOf(at)} `), bytes]));
      return line?.at === at && line.stamp === stampOf(at) && line.bytes.equals(Buffer.from(bytes));
    }),
  );
  const read = (text: string): bigint | undefined => parseStampedLine(Buffer.from(text))?.at;
  t.equal(read('2026-11-24T15:34:58.5+02:00 x'), read('2026-11-24T13:34:58.500000000Z x'));
  t.equal(read('1970-01-01T00:00:01Z '), 1_000_000_000n);
  for (const text of ['', ' ', 'x y', '2026-11-24T15:34:58Z', '2026-99-24T15:34:58Z x', 'LS1 1-2 aaaa'])
    t.equal(read(text), undefined, text);
});

test('LogPosition takes of any log that is cut and given again from any second each line once', async (t) => {
  const steps = fc.array(fc.constantFrom(0n, 1n, 400_000_000n, 1_000_000_000n), {
    minLength: 1,
    maxLength: 60,
  });
  fc.assert(
    fc.property(steps, fc.array(fc.nat(60)), (gaps, cuts) => {
      let at = 1_790_000_000_000_000_000n;
      const lines = gaps.map((gap) => ({ at: (at += gap), stamp: stampOf(at) }));
      const position = new LogPosition();
      const taken: number[] = [];
      for (const cut of [...cuts, lines.length]) {
        position.goOnFrom(position.mark);
        const second = (position.mark?.at ?? 0n) / 1_000_000_000n;
        const given = lines.flatMap((line, index) =>
          line.at / 1_000_000_000n >= second ? [{ line, index }] : [],
        );
        for (const { line, index } of given.slice(0, cut)) if (position.isNew(line)) taken.push(index);
      }
      // Given from the beginning of a second, a cut may come before anything new: but nothing comes twice or early.
      return taken.every((index, count) => index === count);
    }),
  );
  t.pass();
});

test('LogLines joins the pieces of a long line, drops the end of a known one, and cuts what is no frame', async (t) => {
  const strays: string[] = [];
  const first = new LogLines(new LogPosition(), (text) => strays.push(text), 70_000);
  const long = 'x'.repeat(64 * 1024);
  const whole = Buffer.from(`${stampOf(1n)} ${long}\n${stampOf(2n)} b\n`);
  const batches = [first.push(whole.subarray(0, 16_384)), first.push(whole.subarray(16_384))];
  t.equal(batches[0], undefined);
  t.equal(batches[1]?.lines.toString(), `${long}\nb\n`);
  t.equal(batches[1]?.at, 2n);
  const position = new LogPosition({ stamp: stampOf(2n), at: 2n, count: 1 });
  const second = new LogLines(position, (text) => strays.push(text), 100);
  t.equal(second.push(Buffer.from(`the end of a line\n${stampOf(2n)} b\n`)), undefined);
  t.same(strays, []);
  const cut = second.push(Buffer.from(`${stampOf(3n)} ${long}\n\nnot stamped\n${stampOf(4n)} c`));
  t.equal(cut?.lines.toString(), `${'x'.repeat(100 - stampOf(3n).length - 1)}\n`);
  t.match(strays, [/cut/, 'not stamped']);
  t.equal(second.takeRest().toString(), `${stampOf(4n)} c`);
});
