/** The pod of a script on a real API server and kubelet, without an agent: what podFor() renders, and the runner in it. */
import { globSync, readFileSync, statSync } from 'node:fs';
import { test } from 'tap';
import { eventually } from '../../harness/eventually.ts';
import { decodeFile, streamOf } from '../../runner/staged-script.ts';
import { groundFor } from './ground.ts';
import { PodGround, type Pod, type ScriptPod } from './pod-ground.ts';

const foreign = { wishes: { image: 'debian:bookworm-slim' } };

async function outputOf(pods: PodGround, pod: ScriptPod): Promise<string> {
  return streamOf(await pods.logOf(pod), 'stdout').toString('utf8');
}

function lastWordsOf(pod: Pod): string {
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {};
  return [...initContainerStatuses, ...containerStatuses]
    .map(({ state }) => state?.terminated?.message ?? state?.waiting?.message ?? '')
    .join('\n');
}

/** Waits for output, then leaves the script running. */
async function hasPrinted(pods: PodGround, pod: ScriptPod, text: string): Promise<void> {
  await eventually(async () => (await outputOf(pods, pod).catch(() => '')).includes(text), 60_000);
}

test('the pod of a script', async (t) => {
  const ground = await groundFor(t);
  const pods = new PodGround(ground);

  t.test('a namespace that enforces restricted pod security takes every golden pod', async (t) => {
    await ground.kubectl('create', 'serviceaccount', 'deployer');
    await ground.cluster.apply({
      apiVersion: 'scheduling.k8s.io/v1',
      kind: 'PriorityClass',
      metadata: { name: 'scripts' },
      value: 1000,
    });
    t.teardown(() => ground.cluster.kubectl(['delete', 'priorityclass', 'scripts']));
    for (const path of globSync('test/executors/kubernetes/golden/*.json')) {
      const text = readFileSync(path, 'utf8').replaceAll(
        '"namespace": "scripts"',
        `"namespace": "${ground.namespace}"`,
      );
      const args = ['create', '-f', '-', '--dry-run=server', '--validate=strict', '-o', 'name'];
      t.match(await ground.cluster.kubectl(args, text), /^(pod|secret)\/ls-/, path);
    }
  });

  t.test('a script in the default image', async (t) => {
    const pod = await pods.launch(
      [
        'id -u; echo "$HOME"; pwd; hostname; cat "$LONGSHORE_PACKAGES"/*',
        'echo mine > file; echo left > "$LONGSHORE_ARTIFACTS/a"; echo x > /tmp/x; python3 -c "print(6 * 7)"',
        'for place in / /longshore/workspace "$LONGSHORE_PACKAGES" /longshore/identity /longshore/bin; do',
        '  (echo x > "$place/x") 2>/dev/null && echo "$place can be written"',
        'done',
        'env | grep -E "^(NODE_|UV_)"',
        'ls /var/run/secrets 2>/dev/null; ls /longshore; echo "$PPID $(cat /proc/1/comm)"; echo err >&2; exit 3',
      ].join('\n'),
    );
    const end = await pods.ended(pod);
    const log = await pods.logOf(pod);

    t.equal(end.status?.phase, 'Succeeded', 'the runner did its work, whatever the script says');
    t.match(log.end, { exitCode: 3, signal: null, stoppedBy: null, fault: null, leftBehind: 0, oomKills: 0 });
    t.same(log.strays, [], 'nothing but frames is in the log');
    t.same(decodeFile(pod.staged.places.journal, pod.staged.key).end, log.end, 'the volume says the same');
    const lines = streamOf(log, 'stdout').toString('utf8').trimEnd().split('\n');
    const runner = lines.pop();
    t.same(lines, [
      ...['10001', '/tmp', '/longshore/workspace/files', pod.name, 'the package42'],
      ...['bin', 'identity', 'order', 'workspace'],
    ]);
    t.match(runner, /^\d+ tini$/, 'its places are as they should be, and tini is the first process');
    t.equal(streamOf(log, 'stderr').toString('utf8'), 'err\n');
    t.match(JSON.parse(readFileSync(pod.staged.places.started, 'utf8')), {
      by: 'runner',
      host: pod.name,
      stdout: null,
    });
    t.equal(statSync(`${pod.staged.places.artifacts}/a`).uid, 10001);
  });

  t.test(
    'at its end nothing of a script is left, also what dropped its environment, group and session',
    async (t) => {
      const pod = await pods.launch(
        '(env -i setsid bash -c "trap : TERM; while :; do sleep 0.1; done" &) >/dev/null 2>&1; sleep 0.3; echo done',
        { order: { graceMs: 500 } },
      );
      await pods.ended(pod);
      const { end } = await pods.logOf(pod);
      t.match(end, { exitCode: 0, signal: null });
      t.ok((end?.leftBehind ?? 0) >= 1, 'it was found without the cookie');
    },
  );

  t.test('the runner comes into a foreign image by an init container', async (t) => {
    const pod = await pods.launch(
      'test ! -e /usr/local/bin/node && echo foreign; (echo x > /longshore/bin/x)',
      foreign,
    );
    const end = await pods.ended(pod);
    t.match(await pods.logOf(pod), { end: { exitCode: 1, fault: null } }, lastWordsOf(end));
    t.equal(await outputOf(pods, pod), 'foreign\n');
  });

  t.test('the runner comes into a foreign image by an image volume', async (t) => {
    const pod = await pods.launch('test ! -e /longshore/bin && echo foreign', {
      ...foreign,
      setup: { runnerInjection: 'image-volume' },
    });
    const end = await pods.ended(pod);
    t.match(await pods.logOf(pod), { end: { exitCode: 0, fault: null } }, lastWordsOf(end));
    t.equal(await outputOf(pods, pod), 'foreign\n');
  });

  t.test('an image without glibc ends at once, and its last words say what is missing', async (t) => {
    const pod = await pods.launch('echo never', { wishes: { image: 'busybox:stable' } });
    const end = await pods.ended(pod);
    t.equal(end.status?.phase, 'Failed');
    t.match(lastWordsOf(end), /exec \/longshore\/bin\/node failed: No such file or directory/);
    t.notOk(statSync(pod.staged.places.started, { throwIfNoEntry: false }), 'nothing was claimed');
  });

  t.test('a child that is killed for memory is counted, and the script goes on', async (t) => {
    const pod = await pods.launch('python3 -c "x = bytearray(10**9)"; echo "child: $?"; exit 7', {
      wishes: { resources: { limits: { memory: '256Mi' } } },
    });
    await pods.ended(pod);
    const log = await pods.logOf(pod);
    t.equal(streamOf(log, 'stdout').toString('utf8'), 'child: 137\n');
    t.match(log.end, { exitCode: 7, oomKills: 1 });
  });

  t.test('activeDeadlineSeconds ends a running script, and its pod and its journal stay', async (t) => {
    const pod = await pods.launch(
      'trap "echo trapped; exit 9" TERM; echo ready; while :; do sleep 0.1; done',
    );
    await hasPrinted(pods, pod, 'ready');
    await pods.expire(pod);
    const end = await pods.ended(pod);
    t.match(end.status, { phase: 'Failed', reason: 'DeadlineExceeded' });
    t.match((await pods.logOf(pod)).end, { exitCode: 9, stoppedBy: 'signal' });
    t.match(await outputOf(pods, pod), /ready\ntrapped\n/);
  });

  t.test(
    'a script that ignores TERM is killed after its grace, and all of it is in the journal',
    async (t) => {
      const pod = await pods.launch('trap "" TERM; echo ready; while :; do sleep 0.1; done', {
        order: { graceMs: 1000 },
      });
      await hasPrinted(pods, pod, 'ready');
      await pods.expire(pod);
      await pods.ended(pod);
      t.match((await pods.logOf(pod)).end, { exitCode: null, signal: 'SIGKILL', stoppedBy: 'signal' });
    },
  );

  t.test('a claim of one node holds its pods on the node of the agent', async (t) => {
    for (const nodeName of ground.cluster.nodes) {
      const pod = await pods.launch('true', { setup: { claimAccess: 'rwo', nodeName } });
      t.equal((await pods.ended(pod)).spec?.nodeName, nodeName);
    }
  });

  t.test('the Secret goes with its pod', async (t) => {
    const pod = await pods.launch('true');
    await pods.ended(pod);
    const secrets = () => ground.kubectl('get', 'secrets', '-o', 'name');
    t.match(await secrets(), `secret/${pod.name}-`);
    await ground.kubectl('delete', 'pod', pod.name);
    await eventually(async () => !(await secrets()).includes(`secret/${pod.name}-`), 60_000);
  });
});
