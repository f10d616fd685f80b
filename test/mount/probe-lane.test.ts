/** The children of one kind of probe, here made ones: what the kernel holds cannot be had on every machine. */
import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { test } from 'tap';
import { ProbeLane } from '../../src/mount/probe-lane.ts';
import type { ProbeProcess } from '../../src/mount/probe-program.ts';
import type { ChildLine, ProbeOrder, ProbeReport } from '../../src/mount/probe-words.ts';
import { eventually } from '../harness/eventually.ts';

/** A child that says what the test lets it say, and dies only where it may. */
class MadeChild extends EventEmitter {
  readonly stdin = new PassThrough();
  readonly stdout = new PassThrough();
  readonly signals: string[] = [];

  say(...lines: readonly (ChildLine | string)[]): void {
    for (const line of lines)
      this.stdout.write(`${typeof line === 'string' ? line : JSON.stringify(line)}\n`);
  }

  kill(signal: string): boolean {
    this.signals.push(signal);
    return true;
  }
}

interface MadeLane {
  readonly children: MadeChild[];
  readonly reports: ProbeReport[];
  readonly take: (id: number, given?: Partial<ProbeOrder>) => void;
  readonly lane: ProbeLane;
}

function madeLane(): MadeLane {
  const children: MadeChild[] = [];
  const reports: ProbeReport[] = [];
  const lane = new ProbeLane('liveness', () => {
    const child = new MadeChild();
    children.push(child);
    // As much of a process as a lane knows of.
    return child as unknown as ProbeProcess;
  });
  const places = { root: '/v', epoch: '/v/e', canaries: '/v/c', canary: '/v/c/me' };
  const take = (id: number, given: Partial<ProbeOrder> = {}): void =>
    lane.take({ id, kind: 'liveness', deadlineMs: 20_000, maxLeaked: 2, places, ...given }, (report) =>
      reports.push(report),
    );
  return { children, reports, take, lane };
}

const step = { step: 'statfs', seconds: 0.1 } as const;

test('take() keeps a child that answers for the next order, and hears nothing but its lines', async (t) => {
  const { children, reports, take } = madeLane();
  take(1);
  children[0]?.say(
    { type: 'ready' },
    'Node says something',
    { type: 'step', id: 1, step },
    { type: 'done', id: 1 },
  );
  await eventually(() => reports.length === 1);
  take(2);
  children[0]?.say({ type: 'done', id: 1 }, { type: 'step', id: 1, step }, { type: 'done', id: 2 });
  await eventually(() => reports.length === 2);
  t.match(reports, [
    { end: 'answered', steps: [step], leaked: 0 },
    { end: 'answered', steps: [], leaked: 0 },
  ]);
  t.equal(children.length, 1);
});

test('take() adds no child while as many as it may are held by the kernel', async (t) => {
  const { children, reports, take } = madeLane();
  for (const id of [1, 2]) {
    take(id, { deadlineMs: 20 });
    children[id - 1]?.say({ type: 'ready' }, { type: 'step', id, step });
    await eventually(() => reports.length === id);
  }
  t.match(reports, [
    { end: 'missed', steps: [step], leaked: 1 },
    { end: 'missed', steps: [step], leaked: 2 },
  ]);
  t.same(
    children.map(({ signals }) => signals),
    [['SIGKILL'], ['SIGKILL']],
  );
  take(3);
  t.match(reports[2], { end: 'none', leaked: 2, says: /2 children .* kernel/ });
  t.equal(children.length, 2);
  children[0]?.emit('exit', null, 'SIGKILL');
  take(4);
  t.equal(children.length, 3);
});

test('take() tells a child that is slow to start from a volume that does not answer, and lets it start', async (t) => {
  const { children, reports, take } = madeLane();
  take(1, { deadlineMs: 20 });
  await eventually(() => reports.length === 1);
  t.match(reports, [{ end: 'none', says: /did not start/, leaked: 0 }]);
  take(2);
  children[0]?.say({ type: 'ready' }, { type: 'done', id: 1 }, { type: 'done', id: 2 });
  await eventually(() => reports.length === 2);
  t.match(reports[1], { end: 'answered' });
  t.equal(children.length, 1);
});

test('take() reports a child that ends or cannot be made, and starts another for the next order', async (t) => {
  const { children, reports, take } = madeLane();
  take(1);
  children[0]?.emit('exit', 1, null);
  take(2);
  children[1]?.emit('error', new Error('no processes left'));
  take(3);
  t.match(reports, [
    { end: 'none', says: /ended with 1/ },
    { end: 'none', says: /no processes left/ },
  ]);
  t.equal(children.length, 3);
});

test('take() refuses a second order while one is under way', async (t) => {
  const { reports, take } = madeLane();
  take(1);
  take(2);
  t.match(reports, [{ end: 'none', says: /not over/ }]);
});

test('kill() kills the child that works and those that are held', async (t) => {
  const { children, reports, take, lane } = madeLane();
  take(1, { deadlineMs: 20 });
  children[0]?.say({ type: 'ready' });
  await eventually(() => reports.length === 1);
  take(2);
  lane.kill();
  t.same(
    children.map(({ signals }) => signals.length),
    [2, 1],
  );
});
