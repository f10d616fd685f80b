/** What a probe says of the mount. */
import { test } from 'tap';
import { canarySeen, probeSeen } from '../../src/mount/probe-evidence.ts';
import { startProbeProgram } from '../../src/mount/probe-program.ts';
import { runProbe } from '../../src/mount/probe-steps.ts';
import type { ProbeKind, ProbeReport, ProbeStep } from '../../src/mount/probe-words.ts';

type Step = Omit<ProbeStep, 'seconds'>;

function report(end: ProbeReport['end'], steps: readonly Step[], kind: ProbeKind = 'liveness'): ProbeReport {
  return { kind, end, steps: steps.map((step) => ({ ...step, seconds: 0 })), seconds: 5, leaked: 0 };
}

const failed = (step: ProbeStep['step'], errno: number): Step => ({ step, errno, says: 'it failed' });
const epoch: Step = { step: 'epoch', text: `${'ab'.repeat(16)}\n` };

const LOOKS: readonly (readonly [
  what: string,
  end: ProbeReport['end'],
  steps: readonly Step[],
  seen: unknown,
])[] = [
  [
    'all answers',
    'answered',
    [{ step: 'statfs' }, epoch],
    { root: { is: 'ok' }, epoch: { is: 'read', epoch: 'ab'.repeat(16) } },
  ],
  [
    'a root that only lists',
    'answered',
    [failed('statfs', 116), { step: 'list' }, failed('epoch', 2)],
    { root: { is: 'ok' }, epoch: { is: 'absent' } },
  ],
  [
    'a root without a handle',
    'answered',
    [failed('statfs', 116), failed('list', 116), failed('epoch', 116)],
    { root: { is: 'errno', number: 116, name: 'ESTALE' }, epoch: { is: 'errno', name: 'ESTALE' } },
  ],
  [
    'an absent epoch',
    'answered',
    [{ step: 'statfs' }, failed('epoch', 20)],
    { root: { is: 'ok' }, epoch: { is: 'absent' } },
  ],
  [
    'an empty epoch',
    'answered',
    [{ step: 'statfs' }, { step: 'epoch', text: '' }],
    { epoch: { is: 'empty' } },
  ],
  ['a root that hangs', 'missed', [], { root: { is: 'missed', afterMs: 5000 }, epoch: { is: 'unasked' } }],
  [
    'a listing that hangs',
    'missed',
    [failed('statfs', 5)],
    { root: { is: 'missed' }, epoch: { is: 'unasked' } },
  ],
  [
    'an epoch that hangs',
    'missed',
    [{ step: 'statfs' }],
    { root: { is: 'ok' }, epoch: { is: 'missed', afterMs: 5000 } },
  ],
  [
    'an epoch that hangs behind a root in error',
    'missed',
    [failed('statfs', 5), failed('list', 5)],
    { root: { is: 'errno', number: 5 }, epoch: { is: 'missed' } },
  ],
];

test('probeSeen() tells root and epoch apart in every way in which a look can end', async (t) => {
  for (const [what, end, steps, seen] of LOOKS)
    t.match(probeSeen(report(end, steps), 7), { kind: 'probe', atMs: 7, ...(seen as object) }, what);
  t.equal(probeSeen(report('none', []), 7), undefined);
});

test('canarySeen() tells a failed step by its errno, wrong bytes as such, and a hang', async (t) => {
  const answer = (end: ProbeReport['end'], steps: readonly Step[]): unknown =>
    canarySeen(report(end, steps, 'canary'), 7)?.answer;
  const written: readonly Step[] = [{ step: 'write' }, { step: 'rename' }];
  t.same(answer('answered', [...written, { step: 'read' }, failed('sweep', 5)]), { is: 'ok' });
  t.same(answer('missed', [...written, { step: 'read' }]), { is: 'ok' });
  t.match(answer('answered', [failed('write', 28)]), { is: 'errno', number: 28, name: 'ENOSPC' });
  t.match(answer('answered', [...written, { step: 'read', says: 'it holds other bytes' }]), {
    is: 'differs',
  });
  t.match(answer('missed', written), { is: 'missed', afterMs: 5000 });
  t.equal(answer('none', []), undefined);
});

test('runProbe() tells what a volume that is not there says, without throwing', async (t) => {
  const places = { root: '/nowhere', epoch: '/nowhere/e', canaries: '/nowhere/c', canary: '/nowhere/c/me' };
  for (const [kind, names] of [
    ['liveness', ['statfs', 'list', 'epoch']],
    ['canary', ['write']],
  ] as const) {
    const steps: ProbeStep[] = [];
    runProbe(kind, places, (step) => steps.push(step));
    t.same(
      steps.map(({ step, errno }) => [step, errno]),
      names.map((name) => [name, 2]),
    );
  }
});

test('startProbeProgram() tells of a program that is not there by its exit', async (t) => {
  const child = startProbeProgram('/nowhere/probe.js');
  const code = await new Promise((resolve) => child.once('exit', resolve));
  t.equal(code, 1);
});
