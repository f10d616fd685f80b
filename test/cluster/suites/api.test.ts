/** Calls, watch and log follow on a real API server and real kubelets, through their deaths. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { pathFor, type ApiCaller, type ApiEvent } from '../../../src/executors/kubernetes/api-call.ts';
import { ApiRefusal } from '../../../src/executors/kubernetes/api-error.ts';
import { KubeConnection } from '../../../src/executors/kubernetes/connection.ts';
import { LogFollow } from '../../../src/executors/kubernetes/log-follow.ts';
import { missingPermissions, PERMISSIONS, roleRules } from '../../../src/executors/kubernetes/permissions.ts';
import { ResourceWatch } from '../../../src/executors/kubernetes/resource-watch.ts';
import type { ApiObject } from '../../../src/executors/kubernetes/watch-event.ts';
import { eventually } from '../../harness/eventually.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { theCluster } from '../cluster.ts';

type Test = { teardown: (work: () => unknown) => void };
type Pod = ApiObject & { readonly status?: { readonly phase?: string } };

const cluster = theCluster();
const namespace = `api-${randomBytes(4).toString('hex')}`;
const inNamespace = ['--namespace', namespace];

async function connect(
  t: Test,
  kubeconfig = cluster.kubeconfig,
): Promise<KubeConnection & { events: ApiEvent[] }> {
  const events: ApiEvent[] = [];
  const observe = (event: ApiEvent): unknown => events.push(event);
  const connection = await KubeConnection.open({ kubeconfig, namespace, requestDeadlineMs: 10_000, observe });
  t.teardown(() => connection.close());
  return Object.assign(connection, { events });
}

function podOf(name: string, script: string, node?: string): Record<string, unknown> {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { suite: 'api' } },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      ...(node !== undefined && { nodeName: node }),
      containers: [
        { name: 'script', image: 'busybox:stable', imagePullPolicy: 'Never', command: ['sh', '-c', script] },
      ],
    },
  };
}

async function create(connection: ApiCaller, pod: Record<string, unknown>): Promise<void> {
  await connection.request({ verb: 'create', resource: 'pods', path: pathFor(namespace, 'pods'), body: pod });
}

/** Phases of the pods of this suite by name. */
function watchPhases(t: Test, connection: ApiCaller, events: ApiEvent[] = []): ResourceWatch<string, Pod> {
  const watch = new ResourceWatch<string, Pod>({
    connection,
    resource: 'pods',
    query: { labelSelector: 'suite=api' },
    keep: (pod) => pod.status?.phase ?? '',
    changed: () => undefined,
    observe: (event) => events.push(event),
  });
  t.teardown(() => watch.close());
  return watch;
}

interface Following {
  readonly follow: LogFollow;
  /** Numbers at the beginning of lines, as they came; only jumps are kept. */
  readonly jumps: [from: number, to: number][];
  readonly last: () => number;
  readonly events: ApiEvent[];
}

/** Follows a pod whose lines begin with numbers that count from 1. */
function followNumbers(
  t: Test,
  connection: ApiCaller,
  pod: string,
  phases: ReadonlyMap<string, string>,
): Following {
  const jumps: [number, number][] = [];
  const events: ApiEvent[] = [];
  let last = 0;
  const follow = new LogFollow({
    connection,
    pod,
    container: 'script',
    take: (lines) => {
      for (const line of lines.toString('latin1').split('\n').slice(0, -1)) {
        const number = Number.parseInt(line, 10);
        if (number !== last + 1) jumps.push([last, number]);
        last = number;
      }
    },
    isOver: () => /Succeeded|Failed/.test(phases.get(pod) ?? ''),
    observe: (event) => events.push(event),
  });
  const waking = setInterval(() => follow.wake(), 200);
  t.teardown(async () => {
    clearInterval(waking);
    await follow.close();
  });
  return { follow, jumps, last: () => last, events };
}

test('a namespace for these tests', async () => {
  await cluster.kubectl(['create', 'namespace', namespace]);
  await eventually(async () =>
    (await cluster.kubectl(['get', 'serviceaccounts', ...inNamespace])).includes('default'),
  );
});

test('an agent with the rights of the Role lacks none, and says which one is taken away from it', async (t) => {
  const name = 'agent';
  const role = (rules: unknown): Promise<void> =>
    cluster.apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { name, namespace },
      rules,
    });
  await cluster.kubectl(['create', 'serviceaccount', name, ...inNamespace]);
  await role(roleRules());
  await cluster.kubectl([
    'create',
    'rolebinding',
    name,
    `--role=${name}`,
    `--serviceaccount=${namespace}:${name}`,
    ...inNamespace,
  ]);
  const token = (await cluster.kubectl(['create', 'token', name, ...inNamespace])).trim();
  const server = JSON.parse(await cluster.kubectl(['config', 'view', '--raw', '-o', 'json'])) as {
    clusters: object[];
    contexts: { context: { cluster: string } }[];
  };
  const context = { name: 'agent', context: { cluster: server.contexts[0]?.context.cluster, user: name } };
  const kubeconfig = join(temporaryFolder(t), 'kubeconfig');
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      ...server,
      contexts: [context],
      users: [{ name, user: { token } }],
      'current-context': 'agent',
    }),
  );
  const connection = await connect(t, kubeconfig);
  await eventually(async () => (await missingPermissions(connection)).length === 0);
  await role(roleRules(PERMISSIONS.filter(({ verb, resource }) => verb !== 'patch' || resource !== 'pods')));
  await eventually(async () => (await missingPermissions(connection)).length > 0);
  t.same(
    (await missingPermissions(connection)).map(({ verb, resource }) => `${verb} ${resource}`),
    ['patch pods'],
  );
  const patch = { verb: 'patch', resource: 'pods', path: pathFor(namespace, 'pods', 'x'), body: {} } as const;
  await t.rejects(connection.request(patch), {
    code: 'CLUSTER_FORBIDDEN',
    detail: { verb: 'patch', resource: 'pods' },
  });
  await cluster.kubectl(['delete', 'rolebinding', name, ...inNamespace]);
  await cluster.kubectl(['delete', 'serviceaccount', name, ...inNamespace]);
  await eventually(async () =>
    connection.request({ ...patch }).then(
      () => false,
      (error: unknown) => (error as { detail?: { status?: number } }).detail?.status === 401,
    ),
  );
});

test('a quota is a refusal with the words of the server, not a missing right', async (t) => {
  const connection = await connect(t);
  const quota = { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'none', namespace } };
  await cluster.apply({ ...quota, spec: { hard: { pods: '0' } } });
  const tried = async (): Promise<unknown> =>
    create(connection, podOf('too-many', 'true')).then(
      async () => cluster.kubectl(['delete', 'pod', 'too-many', ...inNamespace]),
      (error: unknown) => error,
    );
  let error: unknown;
  await eventually(async () => (error = await tried()) instanceof ApiRefusal);
  t.match(error, { status: 403, reason: 'Forbidden', message: /exceeded quota: none/ });
  await cluster.kubectl(['delete', 'resourcequota', 'none', ...inNamespace]);
});

test('a watch knows what kubectl did while the API server was killed, frozen and back', async (t) => {
  const connection = await connect(t);
  const events: ApiEvent[] = [];
  const watch = watchPhases(t, connection, events);
  t.equal(await watch.whenSynced(20_000), true);
  await create(connection, podOf('stays', 'sleep 600'));
  await create(connection, podOf('goes', 'sleep 600'));
  await eventually(
    () => watch.objects.get('stays') === 'Running' && watch.objects.get('goes') === 'Running',
    60_000,
  );
  const back = await cluster.outage.apiServerKilled();
  await eventually(() => events.some((event) => event.type === 'watch-restart'));
  t.equal(watch.objects.size, 2, 'what it knew, it knows');
  await back();
  await cluster.kubectl(['delete', 'pod', 'goes', '--now', ...inNamespace]);
  await create(connection, podOf('comes', 'true'));
  await eventually(() => !watch.objects.has('goes') && watch.objects.get('comes') === 'Succeeded', 60_000);
  const patch = { spec: { activeDeadlineSeconds: 1 } };
  await connection.request({
    verb: 'patch',
    resource: 'pods',
    path: pathFor(namespace, 'pods', 'stays'),
    body: patch,
  });
  await eventually(() => watch.objects.get('stays') === 'Failed', 60_000);
});

const STEADY =
  'i=0; while [ $i -lt 40000 ]; do i=$((i+1)); echo "$i is a line of some length"; [ $((i % 200)) = 0 ] && sleep 0.1; done';

for (const [outage, during] of [
  ['the API server is killed', async () => cluster.outage.apiServerKilled()],
  ['the kubelet is killed', async () => cluster.outage.kubeletKilled('node-a')],
] as const)
  test(`a log loses and doubles no line when ${outage} twice while it is written`, async (t) => {
    const connection = await connect(t);
    const watch = watchPhases(t, connection);
    const name = `steady-${randomBytes(2).toString('hex')}`;
    await create(connection, podOf(name, STEADY, 'node-a'));
    const { follow, jumps, last, events } = followNumbers(t, connection, name, watch.objects);
    const restarts = (): number => events.filter(({ type }) => type === 'log-restart').length;
    for (const lines of [2000, 12_000]) {
      await eventually(() => last() > lines, 60_000);
      const before = restarts();
      const back = await during();
      await eventually(() => restarts() > before);
      await back();
    }
    t.same(await follow.done, { reason: 'complete' });
    t.equal(last(), 40_000);
    t.same(jumps, []);
  });

test('200 MiB with rotation: what comes is in order and once, and the last line is among it', async (t) => {
  const connection = await connect(t);
  const watch = watchPhases(t, connection);
  // For some 40 s: a kubelet looks every 10 s whether a log is longer than 10 MiB.
  const each = '{ print i s; if (i % 2048 == 0) { fflush(); system("sleep 0.8") } }';
  const script = `awk 'BEGIN { s = sprintf("%2041s", ""); for (i = 1; i <= 102400; i++) ${each} }'`;
  await create(connection, podOf('flood', script, 'node-a'));
  const { follow, jumps, last } = followNumbers(t, connection, 'flood', watch.objects);
  t.same(await follow.done, { reason: 'complete' });
  t.match(
    await cluster.inNode('node-a', ['sh', '-c', `ls /var/log/pods/${namespace}_flood_*/script`]),
    /0\.log\.\d+/,
  );
  t.equal(last(), 102_400);
  // A line that was half written when the node put the file away comes without its beginning.
  const whole = jumps.flat().filter((number) => !Number.isNaN(number));
  t.same(
    whole,
    whole.toSorted((one, other) => one - other),
    'nothing comes twice',
  );
  t.comment(`jumps where rotation took lines: ${JSON.stringify(jumps)}`);
});

test('a line of 300 KiB, which the runtime writes in pieces, comes whole', async (t) => {
  const connection = await connect(t);
  const watch = watchPhases(t, connection);
  const script = `for i in 1 2 3; do head -c 307200 /dev/zero | tr '\\0' x; echo; done; printf 'last words'`;
  await create(connection, podOf('long', script));
  const lines: string[] = [];
  const follow = new LogFollow({
    connection,
    pod: 'long',
    container: 'script',
    take: (bytes) => void lines.push(...bytes.toString().split('\n').slice(0, -1)),
    isOver: () => watch.objects.get('long') === 'Succeeded',
    observe: () => undefined,
  });
  await eventually(() => watch.objects.get('long') === 'Succeeded', 60_000);
  follow.wake();
  t.same(await follow.done, { reason: 'complete' });
  t.same(
    lines.map(({ length }) => length),
    [307_200, 307_200, 307_200, 10],
  );
});

test('a follow of a pod that is deleted ends as gone', async (t) => {
  const connection = await connect(t);
  const watch = watchPhases(t, connection);
  await create(connection, podOf('deleted', 'i=0; while true; do i=$((i+1)); echo $i; sleep 0.1; done'));
  const { follow, last } = followNumbers(t, connection, 'deleted', watch.objects);
  await eventually(() => last() > 5, 60_000);
  await connection.request({
    verb: 'delete',
    resource: 'pods',
    path: pathFor(namespace, 'pods', 'deleted'),
    query: { gracePeriodSeconds: '0' },
  });
  t.same(await follow.done, { reason: 'gone' });
});

test('the namespace is removed', async () => {
  await cluster.kubectl(['delete', 'namespace', namespace, '--timeout=60s']);
});
