import { Compile } from 'typebox/compile';
import fc from 'fast-check';
import t from 'tap';
import { compileCheck } from '../../src/api/schema-check.ts';
import {
  refuseUnsupported,
  START_LIMITS,
  startBodySchema,
  type StartBody,
} from '../../src/api/start-body.ts';
import { scriptRequestFrom } from '../../src/api/start-request.ts';
import { Fault } from '../../src/protocol/fault.ts';
import type { PodWishes } from '../../src/protocol/pod-wishes.ts';
import type { ScriptRequest } from '../../src/protocol/script-request.ts';

const schema = startBodySchema({ maxDeadlineSeconds: 3600 });
const check = compileCheck({ schema, httpPart: 'body' });

/** What a body becomes, or the Fault that refuses it: as the route does it, step for step. */
function take(body: unknown, can = { pods: false }): ScriptRequest | Fault {
  try {
    refuseUnsupported(body, can);
    const checked = check(body);
    // The check has just said that it is one.
    return 'error' in checked ? checked.error : scriptRequestFrom(checked.value as StartBody);
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
}

const bash = (more: object = {}): object => ({ language: 'bash', body: 'echo', ...more });

t.test('a start body becomes a request, member for member', async (t) => {
  const body = bash({
    arguments: ['a', ''],
    files: [
      { path: 'a', content: 'ü' },
      { path: 'b', content: 'AAEC', encoding: 'base64' },
      { path: 'c', digest: `sha256:${'0'.repeat(64)}` },
    ],
    packages: [{ id: 'web', version: '1.2.3' }],
    variables: [{ name: 'Db.Password', value: '', sensitive: true }],
    isolation: { level: 'full', name: 'web', timeoutSeconds: 5 },
    storage: 'copied',
    deadlineSeconds: 3600,
    graceSeconds: 0,
    labels: { 'octopus/task': 'ServerTasks-1' },
  });
  t.same(take(body), body);
  t.same(take(bash()), bash());
});

t.test('what this version cannot honour is refused by name', async (t) => {
  const cases: readonly [body: object, field: string][] = [
    [bash({ command: ['x'] }), '/command'],
    [{ command: ['deploy-package'] }, '/command'],
    [bash({ pod: { image: 'x' } }), '/pod'],
    [bash({ language: 'python' }), '/language'],
    [bash({ language: 'cobol' }), '/language'],
  ];
  for (const [body, field] of cases) {
    t.match(
      take(body),
      { code: 'FIELD_UNSUPPORTED', detail: { field }, message: /capabilities/ },
      JSON.stringify(body),
    );
  }
});

t.test('a body that breaks the schema is refused with field, rule and value', async (t) => {
  const cases: readonly [body: unknown, field: string, rule: RegExp, value?: string][] = [
    [undefined, 'the body', /of type object/],
    [[], 'the body', /of type object/, '[]'],
    [{ body: 'x' }, '/language', /^there$/],
    [{ language: 'bash' }, '/body', /^there$/],
    [bash({ language: 5 }), '/language', /one of bash/, '5'],
    [bash({ body: null }), '/body', /of type string/],
    [bash({ extra: 1 }), '/extra', /left out: there is no such member/],
    [bash({ files: [{ path: 'a', content: '', mode: 1 }] }), '/files/0/mode', /left out/],
    [bash({ files: [{ content: '' }] }), '/files/0/path', /^there$/],
    [bash({ storage: 'local' }), '/storage', /one of shared/, '"local"'],
    [bash({ deadlineSeconds: 0 }), '/deadlineSeconds', /at least 1/, '0'],
    [bash({ deadlineSeconds: 3601 }), '/deadlineSeconds', /at most 3600/, '3601'],
    [bash({ deadlineSeconds: 1.5 }), '/deadlineSeconds', /of type integer/, '1.5'],
    [bash({ deadlineSeconds: '5' }), '/deadlineSeconds', /of type integer/, '"5"'],
    [bash({ graceSeconds: 601 }), '/graceSeconds', /at most 600/],
    [bash({ isolation: { level: 'half', name: 'a' } }), '/isolation/level', /one of none, full/],
    [
      bash({ isolation: { level: 'full', name: '../a' } }),
      '/isolation/name',
      /1 to 64 of the characters/,
      '"../a"',
    ],
    [bash({ isolation: { level: 'full' } }), '/isolation/name', /^there$/],
    [bash({ arguments: Array.from({ length: 1001 }, () => '') }), '/arguments', /a list of at most 1000/],
    [bash({ variables: [{ name: '', value: 'x' }] }), '/variables/0/name', /at least 1 characters/],
    [
      bash({ variables: [{ name: 'x'.repeat(201), value: 'x' }] }),
      '/variables/0/name',
      /at most 200 characters/,
    ],
    [bash({ labels: { 'a b': 'x' } }), '/labels/a b', /left out/],
    [
      bash({ labels: Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`l${i}`, 'x'])) }),
      '/labels',
      /at most 20/,
    ],
  ];
  for (const [body, field, rule, value] of cases) {
    const detail = { field, rule, ...(value !== undefined && { value }) };
    t.match(
      take(body),
      { code: 'REQUEST_INVALID', detail, message: `${field} must be ` },
      JSON.stringify(body)?.slice(0, 100),
    );
  }
});

t.test('rules that a schema cannot say are held too', async (t) => {
  const surrogate = 'a\ud800b';
  const big = (count: number, name = 'x'): object => ({ name, value: 'v'.repeat(count) });
  const cases: readonly [body: object, field: string, rule: RegExp][] = [
    [bash({ body: 'a\0' }), '/body', /without NUL/],
    [bash({ body: surrogate }), '/body', /lone surrogates/],
    [bash({ arguments: ['ok', 'a\0'] }), '/arguments/1', /without NUL/],
    [
      bash({ arguments: ['x'.repeat(START_LIMITS.argumentBytes + 1)] }),
      '/arguments/0',
      /at most 131071 bytes/,
    ],
    [bash({ arguments: ['ü'.repeat(65_536)] }), '/arguments/0', /at most 131071 bytes/],
    [bash({ arguments: Array.from({ length: 7 }, () => 'x'.repeat(120_000)) }), '/arguments', /together/],
    [bash({ files: [{ path: 'a' }] }), '/files/0', /either content or digest/],
    [bash({ files: [{ path: 'a', content: '', digest: 'x' }] }), '/files/0', /either content or digest/],
    [bash({ files: [{ path: 'a', digest: 'x', encoding: 'utf8' }] }), '/files/0/encoding', /left out/],
    [bash({ files: [{ path: 'a', content: 'AB=', encoding: 'base64' }] }), '/files/0/content', /base64/],
    [bash({ files: [{ path: 'a', content: 'A B=', encoding: 'base64' }] }), '/files/0/content', /base64/],
    [bash({ files: [{ path: 'a', content: surrogate }] }), '/files/0/content', /surrogates/],
    [
      bash({
        files: [
          { path: 'a', content: 'x'.repeat(2 ** 20) },
          { path: 'b', content: 'x' },
        ],
      }),
      '/files',
      /together/,
    ],
    [
      bash({
        variables: [
          { name: 'a.b', value: '' },
          { name: 'a_b', value: '' },
        ],
      }),
      '/variables/1/name',
      /"a\.b" is a_b too/,
    ],
    [
      bash({
        variables: [
          { name: 'a', value: '' },
          { name: 'a', value: '' },
        ],
      }),
      '/variables/1/name',
      /"a" is a too/,
    ],
    [
      bash({
        variables: [
          { name: 'Longshore', value: '' },
          { name: 'LONGSHORE.TICKET', value: '' },
        ],
      }),
      '/variables/1/name',
      /outside LONGSHORE_/,
    ],
    [bash({ variables: [{ name: 'a\0', value: '' }] }), '/variables/0/name', /without NUL/],
    [
      bash({ variables: [big(START_LIMITS.variableBytes + 1)] }),
      '/variables/0/value',
      /at most 122880 bytes/,
    ],
    [
      bash({ variables: Array.from({ length: 9 }, (_, i) => big(120_000, `x${i}`)) }),
      '/variables',
      /together/,
    ],
  ];
  for (const [body, field, rule] of cases) {
    t.match(
      take(body),
      { code: 'REQUEST_INVALID', detail: { field, rule } },
      JSON.stringify(body).slice(0, 100),
    );
  }
});

t.test('the value of a variable is never shown again (invariant 11)', async (t) => {
  const secret = 'hunter2-hunter2';
  for (const value of [`${secret}\0`, { secret }, [secret]]) {
    const refusal = take(bash({ variables: [{ name: 'x', value }] }));
    t.match(refusal, { code: 'REQUEST_INVALID', detail: { field: '/variables/0/value' } });
    t.notMatch(JSON.stringify([refusal, (refusal as Fault).message]), secret);
  }
});

t.test('a long value is shown up to 200 characters', async (t) => {
  const refusal = take(bash({ storage: 'x'.repeat(10_000) }));
  t.match(refusal, { code: 'REQUEST_INVALID' });
  t.ok((refusal as Fault).message.length < 300);
});

t.test('any JSON either becomes a request or is refused with a field', async () => {
  const member = fc.constantFrom(
    'language',
    'body',
    'arguments',
    'files',
    'variables',
    'isolation',
    'labels',
    '__proto__',
  );
  fc.assert(
    fc.property(fc.dictionary(member, fc.jsonValue()), (body) => {
      const taken = take({ language: 'bash', body: 'x', ...body });
      return !(taken instanceof Fault) || typeof taken.detail['field'] === 'string';
    }),
    { numRuns: 300 },
  );
});

t.test('schema-check says what the library says', async (t) => {
  const same = Compile(schema);
  for (const body of [bash(), bash({ extra: 1 }), {}, bash({ arguments: [5] })]) {
    t.equal('value' in check(body), same.Check(body));
  }
});

t.test('wishes about the pod are taken where scripts have pods, and refused by name where not', (t) => {
  const pod: PodWishes = {
    image: 'registry.example.com/tools:1',
    serviceAccount: 'deployer',
    resources: { limits: { memory: '1Gi' } },
    nodeSelector: { pool: 'build' },
    tolerations: [{ key: 'build', operator: 'Exists', effect: 'NoSchedule' }],
  };
  t.match(take(bash({ pod })), { code: 'FIELD_UNSUPPORTED', detail: { field: '/pod' } });
  t.same(take(bash({ pod }), { pods: true }), bash({ pod }));
  t.match(take(bash({ pod: { restartPolicy: 'Always' } }), { pods: true }), { code: 'REQUEST_INVALID' });
  t.end();
});
