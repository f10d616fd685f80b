/** What a script may wish of its pod, and what quantities mean. */
import fc from 'fast-check';
import { test } from 'tap';
import { checkPod, type PodPolicy } from '../../../src/executors/kubernetes/pod-policy.ts';
import { exceeds, parseQuantity } from '../../../src/executors/kubernetes/quantity.ts';
import { Fault } from '../../../src/protocol/fault.ts';
import type { PodToleration, PodWishes } from '../../../src/protocol/pod-wishes.ts';

const policy: PodPolicy = {
  images: ['debian:bookworm-slim', 'registry.example/team/*'],
  serviceAccounts: ['deployer', 'team-*'],
  resources: { cpu: '2', memory: '4Gi' },
  nodeSelector: { pool: ['gpu', 'large'] },
  tolerations: [
    { key: 'gpu', operator: 'Exists' },
    { key: 'team', value: 'web', effect: 'NoSchedule' },
  ],
};

/** Field, rule and value of the refusal; undefined where there is none. */
function refusalOf(wishes: PodWishes, by: PodPolicy = policy): Fault['detail'] | undefined {
  try {
    checkPod(wishes, by);
    return undefined;
  } catch (error) {
    if (error instanceof Fault && error.code === 'POD_NOT_ALLOWED') return error.detail;
    throw error;
  }
}

test('checkPod() allows nothing but what the configuration names', async (t) => {
  const all: PodWishes[] = [
    { image: 'debian:bookworm-slim' },
    { serviceAccount: 'default' },
    { resources: { limits: { cpu: '1m' } } },
    { resources: { requests: { cpu: '0' } } },
    { nodeSelector: { pool: 'gpu' } },
    { tolerations: [{ operator: 'Exists' }] },
  ];
  for (const wishes of all) t.match(refusalOf(wishes, {}), { rule: /^left out/ }, JSON.stringify(wishes));
  t.equal(refusalOf({}, {}), undefined);
  t.equal(refusalOf({ resources: {}, nodeSelector: {}, tolerations: [] }, {}), undefined);
});

test('checkPod() returns allowed wishes as they are', async (t) => {
  const wishes: PodWishes = {
    image: 'registry.example/team/tool:1@sha256:00',
    serviceAccount: 'team-web',
    resources: { requests: { cpu: '500m', memory: '1e9' }, limits: { cpu: '2000m', memory: '4096Mi' } },
    nodeSelector: { pool: 'large' },
    tolerations: [{ key: 'gpu', operator: 'Equal', value: 'yes', effect: 'NoExecute', tolerationSeconds: 5 }],
  };
  t.equal(checkPod(wishes, policy), wishes);
});

test('checkPod() names field, rule and value of what it refuses', async (t) => {
  const cases: [PodWishes, string, RegExp, string][] = [
    [{ image: 'debian:bookworm' }, '/pod/image', /^one of debian:bookworm-slim, registry/, 'debian:bookworm'],
    [{ image: 'registry.example/teams/x' }, '/pod/image', /team\/\*/, 'registry.example/teams/x'],
    [{ serviceAccount: 'admin' }, '/pod/serviceAccount', /^one of deployer/, 'admin'],
    [
      { resources: { limits: { memory: '4.1Gi' } } },
      '/pod/resources/limits/memory',
      /^at most 4Gi$/,
      '4.1Gi',
    ],
    [{ resources: { limits: { cpu: '2001m' } } }, '/pod/resources/limits/cpu', /^at most 2$/, '2001m'],
    [{ resources: { limits: { cpu: '-1' } } }, '/pod/resources/limits/cpu', /^a quantity/, '-1'],
    [{ resources: { limits: { cpu: 'much' } } }, '/pod/resources/limits/cpu', /^a quantity/, 'much'],
    [
      { resources: { requests: { 'nvidia.com/gpu': '1' } } },
      '/pod/resources/requests/nvidia.com~1gpu',
      /^one of cpu, memory$/,
      'nvidia.com/gpu',
    ],
    [
      { resources: { requests: { cpu: '2' }, limits: { cpu: '1' } } },
      '/pod/resources/requests/cpu',
      /^at most its limit 1$/,
      '2',
    ],
    [{ nodeSelector: { pool: 'small' } }, '/pod/nodeSelector/pool', /^one of gpu, large$/, 'small'],
    [{ nodeSelector: { toString: 'x' } }, '/pod/nodeSelector/toString', /^left out$/, 'x'],
    [{ tolerations: [{ operator: 'Exists' }] }, '/pod/tolerations/0', /^one of \{/, '{"operator":"Exists"}'],
  ];
  for (const [wishes, field, rule, value] of cases) t.match(refusalOf(wishes), { field, rule, value });
});

test('checkPod() allows nothing of a resource whose maximum cannot be read', async (t) => {
  t.match(refusalOf({ resources: { limits: { cpu: '0' } } }, { resources: { cpu: 'lots' } }), { value: '0' });
});

test('checkPod() allows a toleration that tolerates no more than an allowed one', async (t) => {
  const allowed = (one: PodToleration, wish: PodToleration) =>
    refusalOf({ tolerations: [wish] }, { tolerations: [one] }) === undefined;
  t.ok(allowed({ key: 'a', operator: 'Exists' }, { key: 'a', value: 'x' }));
  t.ok(allowed({ operator: 'Exists' }, { key: 'a', operator: 'Exists', effect: 'NoExecute' }));
  t.ok(allowed({ operator: 'Exists' }, { operator: 'Exists' }));
  t.ok(allowed({ key: 'a', value: 'x' }, { key: 'a', operator: 'Equal', value: 'x', effect: 'NoSchedule' }));
  t.notOk(allowed({ key: 'a', value: 'x' }, { key: 'a', operator: 'Exists' }));
  t.notOk(allowed({ key: 'a', value: 'x' }, { key: 'a', value: 'y' }));
  t.notOk(allowed({ key: 'a', operator: 'Exists' }, { key: 'b', operator: 'Exists' }));
  t.notOk(allowed({ key: 'a', operator: 'Exists' }, { operator: 'Exists' }));
  t.notOk(allowed({ key: 'a', operator: 'Exists', effect: 'NoSchedule' }, { key: 'a', operator: 'Exists' }));
  t.notOk(
    allowed({ key: 'a', operator: 'Exists', tolerationSeconds: 60 }, { key: 'a', operator: 'Exists' }),
    'no seconds is for ever',
  );
  t.notOk(
    allowed(
      { key: 'a', operator: 'Exists', tolerationSeconds: 60 },
      { key: 'a', operator: 'Exists', tolerationSeconds: 61 },
    ),
  );
});

test('parseQuantity()', async (t) => {
  const nano = 10n ** 9n;

  t.test('reads every form of Kubernetes', async (t) => {
    const forms: [string, bigint][] = [
      ['0', 0n],
      ['1', nano],
      ['+1', nano],
      ['.5', nano / 2n],
      ['5.', 5n * nano],
      ['1500m', (3n * nano) / 2n],
      ['100n', 100n],
      ['7u', 7000n],
      ['1k', 1000n * nano],
      ['1Ki', 1024n * nano],
      ['1.5Gi', 3n * 2n ** 29n * nano],
      ['1E', 10n ** 18n * nano],
      ['1E3', 1000n * nano],
      ['1e-3', nano / 1000n],
      ['2.5e2', 250n * nano],
      ['9Ei', 9n * 2n ** 60n * nano],
      ['0.0000000001', 1n],
    ];
    for (const [text, value] of forms) t.equal(parseQuantity(text), value, text);
  });

  t.test('reads nothing else', async (t) => {
    const others = [
      '',
      '.',
      '-1',
      '1 ',
      ' 1',
      '1K',
      '1ki',
      '1mi',
      '1GiB',
      '0x1',
      '1e',
      '1e3k',
      '1e999',
      '١',
      '1\n',
    ];
    for (const text of [...others, '1'.repeat(65)])
      t.equal(parseQuantity(text), undefined, JSON.stringify(text));
  });

  t.test('never throws, and never reads less than nothing', async () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => (parseQuantity(text) ?? 0n) >= 0n));
  });

  t.test('says of a number the same in every unit, and keeps the order of numbers', async () => {
    const count = fc.integer({ min: 0, max: 2 ** 40 });
    fc.assert(
      fc.property(count, count, (a, b) => {
        const same = [`${a}000m`, `${a}.0`, `${a}e0`, `${a}000000u`];
        return (
          same.every((text) => parseQuantity(text) === BigInt(a) * nano) &&
          parseQuantity(`${a}Ki`) === parseQuantity(String(a * 1024)) &&
          exceeds(`${a}Mi`, `${b}Mi`) === a > b &&
          exceeds(`${a}k`, `${b}Ki`) === BigInt(a) * 1000n > BigInt(b) * 1024n
        );
      }),
    );
  });

  t.test('does not say that one of two is more when one is none', async (t) => {
    t.notOk(exceeds('much', '1'));
    t.notOk(exceeds('1', 'much'));
  });
});
