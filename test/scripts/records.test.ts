import type { Trouble } from '../../src/executors/executor.ts';
import fc from 'fast-check';
import t from 'tap';
import { AgentLines } from '../../src/scripts/agent-lines.ts';
import { IsolationLine } from '../../src/scripts/isolation-line.ts';
import { outcomeFrom, outcomeOf } from '../../src/scripts/outcome.ts';
import { listArtifacts, openArtifact } from '../../src/scripts/script-artifacts.ts';
import { claimForAgent, readClaim } from '../../src/scripts/started-claim.ts';
import { TicketRecords, type Asked } from '../../src/scripts/ticket-record.ts';
import { Wakeup } from '../../src/scripts/wakeup.ts';
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Volume } from '../../src/mount/volume.ts';
import { sha256Of } from '../../src/protocol/digest.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { parseTicket, scriptKeyFor, type ScriptKey, type Ticket } from '../../src/protocol/ticket.ts';
import { agentKeyName } from '../../src/protocol/seal.ts';
import { endRecord } from '../harness/made-journal.ts';
import { temporaryVolume, volumeAt } from '../harness/temporary-volume.ts';

const agentKey = randomBytes(32);

function ticketOf(text: string): Ticket {
  const ticket = parseTicket(text);
  if (ticket === undefined) throw new TypeError(`${text} is no ticket`);
  return ticket;
}

function keyOf(text: string): ScriptKey {
  return scriptKeyFor('server', ticketOf(text));
}

function askedFor(text: string, more: Partial<Asked> = {}): Asked {
  return {
    version: 1,
    key: keyOf(text),
    server: 'server',
    ticket: ticketOf(text),
    askedAt: '2026-01-01T00:00:00.000Z',
    bodyMark: 'mark',
    agentKeyName: 'name',
    staging: 'folder',
    manifestDigest: sha256Of(''),
    files: 1,
    bytes: 2,
    language: 'bash',
    arguments: [],
    sealedVariables: '',
    isolation: null,
    deadlineMs: 1000,
    graceMs: 100,
    labels: {},
    ...more,
  };
}

/** A second agent's view of the same folder. */
function again(volume: Volume): Volume {
  return volumeAt(volume.layout.root.slice(0, volume.layout.root.lastIndexOf('/')));
}

t.test(
  'of many starts of one ticket, from two agents, exactly one publishes its record (invariant 3)',
  async (t) => {
    const volume = await temporaryVolume(t);
    const [first, second] = [new TicketRecords(volume, agentKey), new TicketRecords(again(volume), agentKey)];
    const agentOf = (index: number): TicketRecords => (index % 2 ? first : second);
    const tries = Array.from({ length: 40 }, (_, index) => askedFor('t1', { staging: `folder-${index}` }));
    const published = await Promise.all(tries.map((asked, index) => agentOf(index).publish(asked)));
    t.equal(published.filter(Boolean).length, 1);
    const winner = tries[published.indexOf(true)];
    t.strictSame(await first.asked(keyOf('t1')), winner);
    t.strictSame(await first.keys(), [keyOf('t1')], 'and the others left nothing');
    t.equal((await volume.list(volume.layout.tickets))?.length, 1);
  },
);

t.test('an outcome is settled once: the first one stands', async (t) => {
  const volume = await temporaryVolume(t);
  const records = new TicketRecords(volume, agentKey);
  await records.publish(askedFor('t1'));
  const codes = ['SUCCEEDED', 'RUNNER_LOST', 'SCRIPT_CANCELLED'] as const;
  const first = await Promise.all(
    codes.map((code) => records.recordOutcome(keyOf('t1'), outcomeOf(code, { endedAt: 'now' }))),
  );
  t.equal(first.filter(Boolean).length, 1);
  t.equal((await records.outcome(keyOf('t1')))?.code, codes[first.indexOf(true)]);
});

t.test('cancel and tombstone are recorded once, and a record can be forgotten', async (t) => {
  const volume = await temporaryVolume(t);
  const records = new TicketRecords(volume, agentKey);
  const key = keyOf('t1');
  t.equal(await records.asked(key), undefined);
  await records.publish(askedFor('t1'));
  t.equal(await records.isCancelled(key), false);
  t.strictSame(
    await Promise.all([records.recordCancel(key, 'a'), records.recordCancel(key, 'b')]).then((all) =>
      all.sort(),
    ),
    [false, true],
  );
  t.equal(await records.isCancelled(key), true);
  t.equal(await records.recordTombstone(key, { completedAt: 'x', code: 'SUCCEEDED' }), true);
  t.equal((await records.tombstone(key))?.completedAt, 'x');
  await records.forget(key);
  t.strictSame(await records.keys(), []);
});

t.test('a record that no agent wrote is named as broken, never taken for an answer', async (t) => {
  const volume = await temporaryVolume(t);
  const records = new TicketRecords(volume, agentKey);
  await records.publish(askedFor('t1'));
  const [t1, t2] = [volume.layout.ticket(keyOf('t1')), volume.layout.ticket(keyOf('t2'))];
  writeFileSync(t1.outcome, '{"code":"SUCCEEDED"}');
  await t.rejects(
    records.outcome(keyOf('t1')),
    { code: 'STORAGE_ERROR' },
    'a script cannot invent one (invariant 4)',
  );
  await records.publish(askedFor('t2'));
  await records.recordOutcome(keyOf('t2'), outcomeOf('SUCCEEDED', { endedAt: 'now' }));
  rmSync(t1.outcome);
  copyFileSync(t2.outcome, t1.outcome);
  await t.rejects(records.outcome(keyOf('t1')), { code: 'STORAGE_ERROR' }, 'nor take another one’s');
  copyFileSync(t2.outcome, t2.tombstone);
  await t.rejects(records.tombstone(keyOf('t2')), { code: 'STORAGE_ERROR' }, 'nor at another place');
  writeFileSync(t1.asked, JSON.stringify(askedFor('t1', { agentKeyName: agentKeyName(agentKey) })));
  await t.rejects(records.asked(keyOf('t1')), { code: 'STORAGE_ERROR' });
});

t.test('the agent says each line once, however many agents say it at once (invariant 5)', async (t) => {
  const volume = await temporaryVolume(t);
  await new TicketRecords(volume, agentKey).publish(askedFor('t1'));
  const now = (): Date => new Date('2026-01-01T00:00:02.000Z');
  const [first, second] = [new AgentLines(volume, now), new AgentLines(again(volume), now)];
  const marks = ['m1', 'm2', 'm3', 'm4'];
  await Promise.all(
    [...marks, ...marks].map((mark, index) =>
      (index % 2 ? first : second).add(keyOf('t1'), { stream: 'agent', text: mark, mark }),
    ),
  );
  const lines = await first.after(askedFor('t1'), 0);
  t.strictSame(
    lines.map(({ seq }) => seq),
    [1, 2, 3, 4, 5],
    'line 1 follows from what was asked',
  );
  t.strictSame(
    lines
      .slice(1)
      .map(({ text }) => text)
      .sort(),
    marks,
  );
  t.match(lines[0]?.text, /published: 1 file, 2 bytes/);
  t.strictSame(
    (await second.after(askedFor('t1'), 3)).map(({ id }) => id),
    ['a4', 'a5'],
  );
});

t.test('the claim of a script is given once: to a runner or to an agent (invariant 3)', async (t) => {
  const volume = await temporaryVolume(t);
  const key = keyOf('t1');
  const workspace = volume.layout.workspace(key);
  mkdirSync(workspace.out, { recursive: true });
  t.equal(await readClaim(volume, key), undefined);
  const taken = await Promise.all(
    [1, 2, 3].map((at) => claimForAgent(volume, key, { reason: 'SCRIPT_CANCELLED', at: String(at) })),
  );
  t.equal(taken.filter(Boolean).length, 1);
  t.match(await readClaim(volume, key), { by: 'agent', reason: 'SCRIPT_CANCELLED' });
  const other = volume.layout.workspace(keyOf('t2'));
  mkdirSync(other.out, { recursive: true });
  writeFileSync(other.started, '{"by":"runner","pi');
  t.equal(await readClaim(volume, keyOf('t2')), 'unreadable');
  t.equal(
    await claimForAgent(volume, keyOf('t2'), { reason: 'SCRIPT_CANCELLED', at: '' }),
    false,
    'half a claim is a claim',
  );
});

t.test(
  'FullIsolation lets one script of a name run at a time, in the order of asking (invariant 10)',
  async (t) => {
    const volume = await temporaryVolume(t);
    const over = new Set<ScriptKey>();
    const isOver = (key: ScriptKey): Promise<boolean> => Promise.resolve(over.has(key));
    const line = new IsolationLine(volume, 'web', isOver);
    const [a, b, c] = [keyOf('a'), keyOf('b'), keyOf('c')];
    t.strictSame(await line.turn(a, 'full'), { runs: true });
    t.strictSame(await line.turn(b, 'full'), { runs: false, waitsFor: a });
    t.strictSame(await line.turn(c, 'full'), { runs: false, waitsFor: a });
    const restarted = new IsolationLine(again(volume), 'web', isOver);
    t.strictSame(await restarted.turn(b, 'full'), { runs: false, waitsFor: a }, 'places survive the agent');
    over.add(a);
    t.strictSame(await restarted.turn(c, 'full'), { runs: false, waitsFor: b }, 'and their order does');
    t.strictSame(await restarted.turn(b, 'full'), { runs: true });
    await line.leave(b);
    t.strictSame(await line.turn(c, 'full'), { runs: true });
    t.strictSame(
      await new IsolationLine(volume, 'WEB', isOver).turn(a, 'full'),
      { runs: true },
      'another name is another line',
    );
  },
);

t.test(
  'scripts that ask for no isolation run together, and wait only for those that ask for it (invariant 10)',
  async (t) => {
    const volume = await temporaryVolume(t);
    const line = new IsolationLine(volume, 'web', () => Promise.resolve(false));
    const [a, b, c, d] = [keyOf('a'), keyOf('b'), keyOf('c'), keyOf('d')];
    t.strictSame(await line.turn(a, 'none'), { runs: true });
    t.strictSame(await line.turn(b, 'none'), { runs: true });
    t.strictSame(await line.turn(c, 'full'), { runs: false, waitsFor: a });
    t.strictSame(await line.turn(d, 'none'), { runs: false, waitsFor: c }, 'and do not overtake them');
  },
);

t.test(
  'of scripts that enter a line at once, from two agents, never two run together (invariant 10)',
  async (t) => {
    const volume = await temporaryVolume(t);
    const over = new Set<ScriptKey>();
    const isOver = (key: ScriptKey): Promise<boolean> => Promise.resolve(over.has(key));
    const lines = [new IsolationLine(volume, 'web', isOver), new IsolationLine(again(volume), 'web', isOver)];
    const keys = Array.from({ length: 12 }, (_, index) => keyOf(`t${index}`));
    let running = 0;
    const run = async (key: ScriptKey, line: IsolationLine): Promise<void> => {
      while (!(await line.turn(key, 'full')).runs) continue;
      running += 1;
      t.equal(running, 1, `${key} runs alone`);
      await line.turn(key, 'full');
      running -= 1;
      over.add(key);
      await line.leave(key);
    };
    await Promise.all(
      keys.map((key, index) => run(key, lines[index % 2] ?? new IsolationLine(volume, 'web', isOver))),
    );
    t.equal(over.size, keys.length);
  },
);

t.test('a place whose owner was killed before it looked again does not count', async (t) => {
  const volume = await temporaryVolume(t);
  const line = new IsolationLine(volume, 'web', () => Promise.resolve(false));
  const [a, b] = [keyOf('a'), keyOf('b')];
  await line.turn(a, 'full');
  const [folder = ''] = ((await volume.list(volume.layout.isolation)) ?? []).map(({ name }) => name);
  const layout = volume.layout.isolationLine(folder);
  await volume.remove(layout.mark(a));
  t.strictSame(await line.turn(b, 'full'), { runs: false, waitsFor: a }, 'others wait for it all the same');
  t.strictSame(await line.turn(a, 'full'), { runs: false, waitsFor: b }, 'it goes to the end of the line');
  t.strictSame(await line.turn(b, 'full'), { runs: true }, 'and its old place is in nobody’s way');
});

const EVICTED: Trouble = {
  code: 'CLUSTER_EVICTED',
  says: 'the node was low on memory',
  evidence: { reason: 'Evicted' },
  final: true,
  sinceMs: 0,
};

t.test('a pod that was told to go is why its script was stopped, unless the script was cancelled', (t) => {
  const code = (record: Parameters<typeof endRecord>[0], cancelled = false): string =>
    outcomeFrom(endRecord(record), { cancelled, trouble: EVICTED, inPod: true }).code;
  t.equal(code({ stoppedBy: 'signal', exitCode: 0 }), 'CLUSTER_EVICTED');
  t.equal(code({ stoppedBy: 'signal', exitCode: 0 }, true), 'SCRIPT_CANCELLED');
  t.equal(code({ exitCode: 0 }), 'SUCCEEDED', 'it had ended before');
  t.end();
});

t.test('in a pod, a script that the kernel killed for memory says so, and one that lost a child too', (t) => {
  const around = { cancelled: false, trouble: undefined, inPod: true };
  const killed = outcomeFrom(endRecord({ exitCode: null, signal: 'SIGKILL', oomKills: 1 }), around);
  t.equal(killed.code, 'CLUSTER_OOM');
  const failed = outcomeFrom(endRecord({ exitCode: 7, oomKills: 2 }), around);
  t.equal(failed.code, 'SCRIPT_FAILED');
  t.match(failed.says, /killed 2 processes for want of memory/);
  t.equal(
    outcomeFrom(endRecord({ exitCode: null, signal: 'SIGKILL', oomKills: 0 }), around).code,
    'SCRIPT_KILLED',
  );
  t.end();
});

t.test('only an end record with exit code 0 that nobody stopped is a success (invariant 4)', (t) => {
  const codes = fc.record({
    exitCode: fc.option(fc.integer({ min: 0, max: 255 })),
    signal: fc.option(fc.constantFrom('SIGKILL', 'SIGTERM')),
    stoppedBy: fc.option(fc.constantFrom('deadline' as const, 'signal' as const)),
    fault: fc.option(fc.constant({ code: 'STAGING_MISMATCH' as const, says: 'x' })),
  });
  fc.assert(
    fc.property(
      codes,
      fc.boolean(),
      fc.option(fc.constant(EVICTED), { nil: undefined }),
      fc.boolean(),
      (parts, cancelled, trouble, inPod) => {
        const clean =
          parts.exitCode === 0 && parts.signal === null && parts.stoppedBy === null && parts.fault === null;
        return (outcomeFrom(endRecord(parts), { cancelled, trouble, inPod }).code === 'SUCCEEDED') === clean;
      },
    ),
  );
  t.end();
});

t.test('the outcome tells cancel, deadline, foreign TERM, signal and exit code apart', (t) => {
  const code = (record: Parameters<typeof endRecord>[0], cancelled = false): string =>
    outcomeFrom(endRecord(record), { cancelled, trouble: undefined, inPod: false }).code;
  t.equal(code({ exitCode: 3 }), 'SCRIPT_FAILED');
  t.equal(code({ exitCode: 137 }), 'SCRIPT_FAILED', 'exit 137 is an exit code');
  t.equal(code({ exitCode: null, signal: 'SIGKILL' }), 'SCRIPT_KILLED');
  t.equal(
    code({ stoppedBy: 'signal', exitCode: 0 }, true),
    'SCRIPT_CANCELLED',
    'whatever its TERM handler left with',
  );
  t.equal(code({ stoppedBy: 'signal', exitCode: 0 }), 'RUNNER_STOPPED');
  t.equal(code({ stoppedBy: 'deadline', exitCode: 0 }), 'SCRIPT_DEADLINE');
  t.equal(code({ exitCode: 0 }, true), 'SUCCEEDED', 'it ended before the cancel reached it');
  t.equal(code({ exitCode: null, signal: null }), 'RUNNER_LOST');
  t.equal(
    code({ fault: { code: 'INTERPRETER_MISSING', says: 'no bash' }, exitCode: null }),
    'INTERPRETER_MISSING',
  );
  t.end();
});

t.test('artifacts are plain files below out/artifacts, and no link leads out (invariant 12)', async (t) => {
  const volume = await temporaryVolume(t);
  const key = keyOf('t1');
  const { artifacts } = volume.layout.workspace(key);
  t.strictSame(await listArtifacts(volume, key), []);
  mkdirSync(`${artifacts}/deep/er`, { recursive: true });
  writeFileSync(`${artifacts}/b.txt`, 'bb');
  writeFileSync(`${artifacts}/deep/er/a.txt`, 'a');
  symlinkSync('/etc', `${artifacts}/etc`);
  symlinkSync('/etc/passwd', `${artifacts}/passwd`);
  t.strictSame(await listArtifacts(volume, key), [
    { name: 'b.txt', size: 2 },
    { name: 'deep/er/a.txt', size: 1 },
  ]);
  const { size, file } = await openArtifact(volume, key, 'deep/er/a.txt');
  t.equal((await file.readAll(size)).toString(), 'a');
  await file.close();
  for (const name of ['passwd', 'etc/passwd', '../journal', 'deep', 'none', '', 'a\0b']) {
    await t.rejects(openArtifact(volume, key, name), { code: 'ARTIFACT_UNKNOWN' }, JSON.stringify(name));
  }
});

t.test('a wake that comes while its loop works is not missed', async (t) => {
  const wakeup = new Wakeup();
  const { signal } = new AbortController();
  wakeup.wake();
  await wakeup.sleep(60_000, signal);
  const sleeping = wakeup.sleep(60_000, signal);
  wakeup.wake();
  await sleeping;
  const closing = new AbortController();
  const last = wakeup.next(60_000, closing.signal);
  closing.abort();
  await last;
  t.pass('each returned long before its time');
});

t.test('a Fault keeps its code, its sentence and its cause', (t) => {
  const cause = new Error('below');
  const fault = new Fault('STORAGE_FULL', 'cannot write', { cause });
  t.equal(fault.cause, cause);
  t.match(fault.says, /no room/);
  t.end();
});
