/** Trials between two nodes: the real programs of the pods as processes, on one folder. */
import { promises as fs, readdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import { ChangeWatch, NEW, OLD } from '../../src/doctor/change-watch.ts';
import type { Finding, Verdict } from '../../src/doctor/finding.ts';
import { insideNode } from '../../src/doctor/inside-node.ts';
import { leftNode } from '../../src/doctor/left-node.ts';
import { LineTalk } from '../../src/doctor/line-talk.ts';
import { nodeFindings } from '../../src/doctor/node-findings.ts';
import { NodeTrials, type NodeTrialsOptions } from '../../src/doctor/node-trials.ts';
import { placesIn, type NodeLine, type NodeOrder, type Visibility } from '../../src/doctor/node-words.ts';
import { rightNode } from '../../src/doctor/right-node.ts';
import { ApiRefusal } from '../../src/executors/kubernetes/api-error.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';
import { ProcessPods } from './process-pods.ts';

const program = readFileSync(fileURLToPath(import.meta.resolve('longshore/doctor-trials')), 'utf8');
const word = '00112233aabbccdd';

function trials(pods: ProcessPods, more: Partial<NodeTrialsOptions> & { forMs?: number } = {}): NodeTrials {
  const { forMs = 60_000, ...given } = more;
  return new NodeTrials({
    ...{ pods, program, word },
    untilMs: performance.now() + forMs,
    signal: new AbortController().signal,
    mountOptions: () => undefined,
    ...given,
  });
}

function verdicts(findings: readonly Finding[]): Record<string, Verdict> {
  return Object.fromEntries(findings.map(({ check, verdict }) => [check, verdict]));
}

test('two pods on one volume: everything is seen, raced for and mounted, and nothing is left', async (t) => {
  const volume = temporaryFolder(t);
  const pods = new ProcessPods(t, volume);
  const found = await trials(pods).run();
  t.same(
    found.filter(({ verdict }) => !['good', 'note'].includes(verdict)),
    [],
  );
  const checks = found.map(({ check }) => check);
  for (const check of ['pods', 'pod-user', 'nodes-create', 'nodes-append', 'nodes-rename', 'nodes-delete'])
    t.ok(checks.includes(check as Finding['check']), check);
  for (const check of ['nodes-list', 'nodes-whole', 'nodes-exclusive', 'sub-path'])
    t.ok(checks.includes(check as Finding['check']), check);
  t.match(
    found.find(({ check }) => check === 'nodes-create'),
    { figures: { rounds: 5, unseen: 0 } },
  );
  t.equal(pods.removed, 1);
  await eventually(() => readdirSync(volume).length === 0);
});

test('a cluster with one node for them is a note, and the words of its scheduler are shown', async (t) => {
  const pods = new ProcessPods(t, temporaryFolder(t));
  pods.homeless.set('right', '0/1 nodes are available: 1 node(s) did not match anti-affinity');
  const found = await trials(pods).run();
  t.match(found[0], { check: 'pods', verdict: 'note', says: /0\/1 nodes are available/ });
  t.equal(verdicts(found)['pod-user'], 'good');
});

test('a pod that does not come up is a warning with the words of the kubelet', async (t) => {
  const pods = new ProcessPods(t, temporaryFolder(t));
  pods.homeless.set('right', '');
  const [found] = await trials(pods, { forMs: 3000 }).run();
  t.match(found, { check: 'pods', verdict: 'warn', says: /FailedMount: as the kubelet says it/ });
});

test('what the cluster refuses is bad, by its code, and what was started is removed', async (t) => {
  const pods = new ProcessPods(t, temporaryFolder(t));
  pods.before = () => {
    throw new Fault('CLUSTER_FORBIDDEN', 'the API server refused a create of pods to the agent');
  };
  t.match(await trials(pods).run(), [{ check: 'pods', verdict: 'bad', code: 'CLUSTER_FORBIDDEN' }]);
  pods.before = () => {
    throw new ApiRefusal('exceeded quota: pods', {
      status: 403,
      reason: 'Forbidden',
      retryAfterMs: undefined,
    });
  };
  t.match(await trials(pods).run(), [{ verdict: 'bad', code: 'CLUSTER_QUOTA', says: /exceeded quota/ }]);
  t.equal(pods.removed, 2);
});

test('an interruption removes the pods, which remove what they wrote', async (t) => {
  const volume = temporaryFolder(t);
  const pods = new ProcessPods(t, volume);
  const stopping = new AbortController();
  const running = trials(pods, { signal: stopping.signal }).run();
  await eventually(() => readdirSync(volume).length > 0);
  stopping.abort();
  await running;
  t.equal(pods.removed, 1);
  await eventually(() => readdirSync(volume).length === 0);
});

test('insideNode() tells the folder of the run from an empty one that a kubelet made', async (t) => {
  const folder = temporaryFolder(t);
  const order: NodeOrder = { side: 'inside', folder, word, limitMs: 5000, seenMs: 500, rounds: 1 };
  const said: NodeLine[] = [];
  const host = { say: (line: NodeLine) => void said.push(line), signal: new AbortController().signal };
  await insideNode(order, host);
  await fs.writeFile(`${folder}/mark`, word);
  await insideNode(order, host);
  t.match(said, [
    { type: 'inside', isThere: false, entries: [] },
    { type: 'inside', isThere: true },
  ]);
  t.ok(readdirSync(folder).includes('visited'), 'the other side knows that it came');
});

test('left gives up with a sentence when right never comes, and right when left does not', async (t) => {
  const folder = `${temporaryFolder(t)}/doctor-${word}`;
  const host = { say: () => undefined, signal: AbortSignal.abort() };
  const order = { folder, word, limitMs: 5000, seenMs: 500, rounds: 1 };
  await t.rejects(leftNode({ ...order, side: 'left' }, host), /no word of the other pod/);
  await t.rejects(rightNode({ ...order, side: 'right' }, host), { name: 'AbortError' });
});

test('ChangeWatch sees each change after what was before it, and says so when it does not', async (t) => {
  const folder = temporaryFolder(t);
  const path = placesIn(folder).change(0, 'create').file;
  await fs.mkdir(placesIn(folder).change(0, 'create').folder);
  const created = new ChangeWatch('create', path, 20_000);
  t.equal(await created.sawBefore, true);
  await fs.writeFile(path, OLD);
  created.changed();
  t.type(await created.after, 'number');

  const appended = new ChangeWatch('append', path, 20_000);
  t.equal(await appended.sawBefore, true);
  await fs.appendFile(path, NEW);
  appended.changed();
  t.type(await appended.after, 'number');

  const unchanged = new ChangeWatch('append', path, 100);
  t.equal(await unchanged.sawBefore, false, 'it was changed before anybody looked');
  const unseen = new ChangeWatch('delete', path, 100);
  t.equal(await unseen.sawBefore, true);
  unseen.changed();
  t.equal(await unseen.after, null);
});

test('LineTalk carries words in both directions, and ends who waits when the other is gone or silent', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const one = new LineTalk<{ n: number }, { n: number }>(connect(port, '127.0.0.1'));
  const two = new LineTalk<{ n: number }, { n: number }>((await accepted)[0]);
  one.say({ n: 1 });
  t.same(await two.hear(5000), { n: 1 });
  const first = one.hear(5000);
  // In one packet: no word is lost before whoever waited for the one before it has gone on.
  for (const n of [2, 3, 4]) two.say({ n });
  t.same([await first, await one.hear(5000), await one.hear(5000)], [{ n: 2 }, { n: 3 }, { n: 4 }]);
  await t.rejects(one.hear(50), /nothing for 50 ms/);
  const waiting = t.rejects(one.hear(5000), /hung up/);
  two.close();
  await waiting;
  await t.rejects(one.hear(5000), /hung up/);
  one.close();
});

test('nodeFindings() judges what was seen late, not at all, half, twice, and elsewhere', (t) => {
  const seen: Visibility = { create: 5, append: 5, rename: 1500, delete: 5, list: null };
  const judged = (left: readonly NodeLine[], inside: readonly NodeLine[] = []): Finding[] =>
    nodeFindings({ left, right: [], inside }, { seenMs: 3000, mountOptions: 'nfs4 hard' });
  const changes = judged([{ type: 'seen', seen }]);
  t.match(verdicts(changes), { 'nodes-create': 'good', 'nodes-rename': 'note', 'nodes-list': 'warn' });
  t.match(
    changes.find(({ check }) => check === 'nodes-list'),
    { measured: 'never', advice: /lookupcache=none/ },
  );
  const whole = { reads: 9, absent: 0, mixed: 0, stale: 0 };
  const replaced = (more: object) => judged([{ type: 'whole', renames: 9, seen: { ...whole, ...more } }])[0];
  t.equal(replaced({})?.verdict, 'good');
  t.equal(replaced({ stale: 1 })?.verdict, 'note');
  t.equal(replaced({ absent: 1 })?.verdict, 'warn');
  t.equal(replaced({ mixed: 1 })?.verdict, 'bad');
  t.match(judged([{ type: 'race', names: 40, doubled: 1, missing: 0 }]), [{ verdict: 'bad' }]);
  t.match(judged([{ type: 'mount', options: 'nfs4 hard' }]), [{ verdict: 'good' }]);
  t.match(judged([{ type: 'mount', options: 'nfs4 soft' }]), [{ verdict: 'note', advice: /same claim/ }]);
  t.match(judged([], [{ type: 'inside', isThere: false, entries: [] }]), [
    { check: 'sub-path', verdict: 'bad', measured: 'an empty folder' },
  ]);
  const failed = (says: string, errno: number) => judged([{ type: 'failed', failure: { says, errno } }])[0];
  t.match(failed('EROFS: read-only file system, open', 30), { verdict: 'bad', code: 'STORAGE_READONLY' });
  t.match(failed('connect ECONNREFUSED 10.0.0.1:4000', 111), { verdict: 'warn', advice: /network policy/ });
  t.end();
});
