/** The gate in front of the volume (invariants 6, 7 and 13). A hung call is a promise that the test settles, or never. */
import { performance } from 'node:perf_hooks';
import { constants } from 'node:os';
import { test } from 'tap';
import { errnoName, errnoOf, meaningOf, storageFault } from '../../src/mount/errno.ts';
import { Gate, type GateEvent, type GateOptions } from '../../src/mount/gate.ts';
import { inParallel } from '../../src/mount/in-parallel.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { eventually } from '../harness/eventually.ts';

function gateOf(options: Partial<GateOptions> = {}): Gate {
  return new Gate({ budget: 2, queueLimit: 2, deadlineMs: 10_000, ...options });
}

/** A system call that does not return until the test says so. */
function hung(gate: Gate, deadlineMs?: number): { call: Promise<string>; finish: (value: string) => void } {
  const { promise, resolve } = Promise.withResolvers<string>();
  const call = gate.run('read', '/v/hung', () => promise, { deadlineMs });
  call.catch(() => undefined);
  return { call, finish: resolve };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'no error',
    (error: unknown) => (error instanceof Fault ? error.code : String(error)),
  );
}

/** An error as Node makes it for a number of errno(3); those without a name look like the last one. */
function systemError(name: keyof typeof constants.errno): Error {
  const number = constants.errno[name];
  const unnamed = ['ESTALE', 'EDQUOT'].includes(name);
  const code = unnamed ? `Unknown system error -${number}` : name;
  return Object.assign(new Error(`${code}: it failed, open '/v/x'`), {
    errno: -number,
    code,
    syscall: 'open',
  });
}

test('run() gives what the call gives, and tells begin and end', async (t) => {
  const events: GateEvent[] = [];
  const gate = gateOf({ observe: (event) => events.push(event) });
  t.equal(await gate.run('stat', '/v/a', async () => 7), 7);
  t.strictSame(
    events.map(({ phase, operation, path, result }) => [phase, operation, path, result]),
    [
      ['begin', 'stat', '/v/a', undefined],
      ['end', 'stat', '/v/a', 'ok'],
    ],
  );
  t.strictSame(gate.load, { inside: 0, waiting: 0, overdue: 0, oldestSeconds: 0 });
});

test('invariant 13: run() lets no more than the budget in, although all of them come in one tick', async (t) => {
  const gate = gateOf({ budget: 3, queueLimit: 100 });
  let [inside, most] = [0, 0];
  const work = async () => {
    inside += 1;
    most = Math.max(most, inside);
    await new Promise((resolve) => setImmediate(resolve));
    inside -= 1;
  };
  await Promise.all(Array.from({ length: 50 }, () => gate.run('stat', '/v', work)));
  t.equal(most, 3);
  t.equal(gate.load.inside, 0);
});

test('run() lets those who wait in by their turn, and one who comes later not before them', async (t) => {
  const gate = gateOf({ budget: 1 });
  const order: string[] = [];
  const first = hung(gate);
  const second = gate.run('read', '/v', async () => order.push('second'));
  const third = gate.run('read', '/v', async () => order.push('third'));
  first.finish('first');
  const late = first.call.then(() => gate.run('read', '/v', async () => order.push('late')));
  await Promise.all([second, third, late]);
  t.strictSame(order, ['second', 'third', 'late']);
});

test('invariant 13: run() refuses with STORAGE_BUSY at once when the queue is full', async (t) => {
  const gate = gateOf({ budget: 1, queueLimit: 2 });
  const first = hung(gate);
  const waiting = [gate.run('read', '/v', async () => 1), gate.run('read', '/v', async () => 2)];
  t.equal(gate.load.waiting, 2);
  t.equal(await codeOf(gate.run('read', '/v', async () => 3)), 'STORAGE_BUSY');
  first.finish('x');
  t.strictSame(await Promise.all(waiting), [1, 2]);
});

test('invariant 7: run() answers STORAGE_TIMEOUT at the deadline, and the hung call keeps its place until it returns', async (t) => {
  const events: GateEvent[] = [];
  const gate = gateOf({ budget: 1, deadlineMs: 20, observe: (event) => events.push(event) });
  const stuck = hung(gate);
  t.equal(await codeOf(stuck.call), 'STORAGE_TIMEOUT');
  t.match(gate.load, { inside: 1, overdue: 1 });
  stuck.finish('late');
  await eventually(() => gate.load.inside === 0);
  t.strictSame(
    events.map(({ phase }) => phase),
    ['begin', 'overdue', 'end'],
  );
  t.equal(await gate.run('read', '/v', async () => 'fine'), 'fine', 'the place is free again');
});

test('invariant 7: run() refuses at once while hung calls hold every place', async (t) => {
  const gate = gateOf({ budget: 2, deadlineMs: 60_000 });
  const stuck = [hung(gate, 20), hung(gate, 20)];
  await Promise.allSettled(stuck.map(({ call }) => call));
  const from = performance.now();
  t.equal(await codeOf(gate.run('read', '/v', async () => 1)), 'STORAGE_BUSY');
  t.ok(performance.now() - from < 10_000, 'without waiting for the deadline');
  stuck[0]?.finish('x');
  await eventually(() => gate.load.inside === 1);
  t.equal(await gate.run('read', '/v', async () => 1), 1, 'one place that is free is enough');
});

test('run() answers STORAGE_TIMEOUT to one who waited for a place until the deadline, and never calls its work', async (t) => {
  const gate = gateOf({ budget: 1, deadlineMs: 30 });
  const stuck = hung(gate, 10_000);
  let called = false;
  const waited = gate.run('read', '/v', async () => (called = true));
  t.equal(await codeOf(waited), 'STORAGE_TIMEOUT');
  stuck.finish('x');
  await stuck.call;
  t.equal(await gate.run('read', '/v', async () => 'next'), 'next');
  t.notOk(called);
  t.equal(gate.load.waiting, 0);
});

test('run() gives back what a call brings after its caller was answered', async (t) => {
  const gate = gateOf();
  const { promise, resolve } = Promise.withResolvers<string>();
  const given: string[] = [];
  const late = async (value: string) => given.push(value);
  const call = gate.run('open', '/v', () => promise, { deadlineMs: 10, late });
  t.equal(await codeOf(call), 'STORAGE_TIMEOUT');
  resolve('descriptor');
  await eventually(() => given.length === 1);
  t.strictSame(given, ['descriptor']);
  await gate.run('open', '/v', async () => 'in time', { late });
  t.strictSame(given, ['descriptor'], 'and nothing of a call that was in time');
});

test('load tells how old the oldest call is, and how many are overdue', async (t) => {
  const gate = gateOf({ deadlineMs: 10_000 });
  const [one, other] = [hung(gate, 20), hung(gate)];
  await codeOf(one.call);
  t.match(gate.load, { inside: 2, overdue: 1, waiting: 0 });
  t.ok(gate.load.oldestSeconds >= 0.015);
  one.finish('x');
  other.finish('x');
  await other.call;
});

test('invariant 6: an errno becomes its code, with the error of the call as its cause', async (t) => {
  const gate = gateOf();
  for (const [name, meaning, code] of [
    ['ESTALE', 'stale', 'STORAGE_STALE'],
    ['ENOSPC', 'full', 'STORAGE_FULL'],
    ['EDQUOT', 'full', 'STORAGE_FULL'],
    ['EFBIG', 'full', 'STORAGE_FULL'],
    ['EROFS', 'readonly', 'STORAGE_READONLY'],
    ['EACCES', 'denied', 'STORAGE_DENIED'],
    ['EPERM', 'denied', 'STORAGE_DENIED'],
    ['EIO', 'unavailable', 'STORAGE_ERROR'],
    ['ETIMEDOUT', 'unavailable', 'STORAGE_ERROR'],
    ['ENOENT', 'absent', 'STORAGE_ERROR'],
    ['ENOTDIR', 'absent', 'STORAGE_ERROR'],
    ['EEXIST', 'exists', 'STORAGE_ERROR'],
    ['ENOTEMPTY', 'exists', 'STORAGE_ERROR'],
    ['ELOOP', 'unknown', 'STORAGE_ERROR'],
  ] as const) {
    const cause = systemError(name);
    const fault = await gate
      .run('open', '/v/x', () => Promise.reject(cause))
      .catch((error: unknown) => error);
    t.ok(fault instanceof Fault, name);
    if (!(fault instanceof Fault)) continue;
    t.equal(fault.code, code, name);
    t.equal(meaningOf(fault), meaning, `${name} through the fault`);
    t.equal(meaningOf(cause), meaning, name);
    t.equal(fault.cause, cause);
    t.strictSame(fault.detail, { operation: 'open', path: '/v/x', errno: name });
  }
});

test('invariant 14: an errno without a name keeps its number, and what is no system error has none', async (t) => {
  const strange = Object.assign(new Error('x'), { errno: -4095 });
  t.equal(errnoName(strange), 'errno-4095');
  t.equal(meaningOf(strange), 'unknown');
  t.equal(errnoName(new Error('x')), 'none');
  t.equal(errnoOf('x'), undefined);
  t.equal(storageFault('read', '/v', 'text').code, 'STORAGE_ERROR');
});

test('run() passes on a Fault of the call as it is', async (t) => {
  const fault = new Fault('DIGEST_MISMATCH', 'x');
  t.equal(await codeOf(gateOf().run('x', '/v', () => Promise.reject(fault))), 'DIGEST_MISMATCH');
});

test('run() catches a call that throws before it begins', async (t) => {
  const gate = gateOf();
  const work = () => {
    throw systemError('EIO');
  };
  t.equal(await codeOf(gate.run('x', '/v', work)), 'STORAGE_ERROR');
  t.equal(gate.load.inside, 0);
});

test('inParallel() runs at most so many at once, and all of them', async (t) => {
  const done: number[] = [];
  let [inside, most] = [0, 0];
  await inParallel(Array(20).keys(), 3, async (item) => {
    inside += 1;
    most = Math.max(most, inside);
    await new Promise((resolve) => setImmediate(resolve));
    inside -= 1;
    done.push(item);
  });
  t.equal(most, 3);
  t.strictSame(
    done.toSorted((left, right) => left - right),
    [...Array(20).keys()],
  );
});

test('inParallel() begins nothing after the first error, and throws it when the others have ended', async (t) => {
  const [begun, ended]: [number[], number[]] = [[], []];
  const slow = Promise.withResolvers<undefined>();
  const work = inParallel([0, 1, 2, 3], 2, async (item) => {
    begun.push(item);
    if (item === 1) throw new Error('first');
    await slow.promise;
    ended.push(item);
    throw new Error('second');
  });
  setImmediate(() => slow.resolve(undefined));
  await t.rejects(work, { message: 'first' });
  t.strictSame([begun, ended], [[0, 1], [0]]);
});

/** A gate whose trust a test takes away. */
function doubtfulGate(options: Partial<GateOptions> = {}) {
  const state: { fault: Fault | undefined } = { fault: undefined };
  const gate = gateOf({ ...options, refusal: () => state.fault });
  const distrust = (code: 'STORAGE_TIMEOUT' | 'STORAGE_EMPTIED', isOver: boolean): void => {
    state.fault = new Fault(code, 'the mount is not trusted');
    gate.distrust(state.fault, isOver);
  };
  return { gate, distrust, trust: () => (state.fault = undefined) };
}

test('invariant 7: run() refuses at once while the mount is not trusted, and runs again when it is', async (t) => {
  const { gate, distrust, trust } = doubtfulGate();
  distrust('STORAGE_TIMEOUT', false);
  let ran = 0;
  const call = (): Promise<unknown> => gate.run('stat', '/v', async () => (ran += 1));
  t.equal(await codeOf(call()), 'STORAGE_TIMEOUT');
  t.equal(ran, 0);
  t.equal(await gate.run('stat', '/v', async () => 'found', { always: true }), 'found');
  trust();
  await call();
  t.equal(ran, 1);
});

test('distrust() refuses who waits for a place, and lets a call under way come back', async (t) => {
  const { gate, distrust } = doubtfulGate({ budget: 1 });
  const first = hung(gate);
  const second = codeOf(gate.run('read', '/v', async () => 'never'));
  distrust('STORAGE_TIMEOUT', false);
  t.equal(await second, 'STORAGE_TIMEOUT');
  first.finish('came back');
  t.equal(await first.call, 'came back');
});

test('invariant 8: distrust() of a lost mount answers who waits for a call, gives late results back, keeps the place', async (t) => {
  const { gate, distrust } = doubtfulGate();
  const { promise, resolve } = Promise.withResolvers<string>();
  const late: string[] = [];
  const call = codeOf(gate.run('open', '/v', () => promise, { late: async (value) => late.push(value) }));
  distrust('STORAGE_EMPTIED', true);
  t.equal(await call, 'STORAGE_EMPTIED');
  t.match(gate.load, { inside: 1, overdue: 1 });
  resolve('a descriptor');
  await eventually(() => gate.load.inside === 0);
  t.same(late, ['a descriptor']);
});

test('a file is closed also while the mount is not trusted, and nobody waits for that', async (t) => {
  const { gate, distrust } = doubtfulGate();
  distrust('STORAGE_TIMEOUT', false);
  const { promise, resolve } = Promise.withResolvers<undefined>();
  let began = false;
  const close = (): Promise<undefined> => {
    began = true;
    return promise;
  };
  t.equal(await codeOf(gate.run('close', '/v', close, { closing: true })), 'STORAGE_TIMEOUT');
  t.ok(began);
  t.equal(gate.load.inside, 1);
  resolve(undefined);
  await eventually(() => gate.load.inside === 0);
});
