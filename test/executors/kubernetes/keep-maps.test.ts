/** What is kept of scripts as ConfigMaps, however the API server answers; the contract suite has the real one. */
import { test, type Test } from 'tap';
import { KeepMaps } from '../../../src/executors/kubernetes/keep-maps.ts';
import { podNameFor } from '../../../src/executors/kubernetes/pod-names.ts';
import { key, MadeCluster, setup } from './made-cluster.ts';

const maps = '/api/v1/namespaces/team/configmaps';
const own = `${maps}/${podNameFor(key)}`;

async function setting(t: Test): Promise<{ cluster: MadeCluster; keep: KeepMaps }> {
  const cluster = await MadeCluster.start(t);
  const connection = await cluster.connection(2000);
  const owner = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'agent', uid: 'u1' };
  return {
    cluster,
    keep: new KeepMaps({ connection, group: setup.podGroup, owner: () => Promise.resolve(owner) }),
  };
}

test('put() makes a ConfigMap with the labels of the group, owned by the owner of the pods', async (t) => {
  const { cluster, keep } = await setting(t);
  cluster.server.answer = (exchange) => exchange.json(201, {});
  await keep.put(key, 'text');
  t.match(cluster.server.calls, [
    {
      method: 'POST',
      path: maps,
      body: {
        metadata: {
          name: podNameFor(key),
          labels: { 'longshore.dev/group': setup.podGroup },
          ownerReferences: [{ kind: 'Deployment', uid: 'u1' }],
        },
        data: { kept: 'text' },
      },
    },
  ]);
});

test('put() replaces the text of one that is there', async (t) => {
  const { cluster, keep } = await setting(t);
  cluster.server.answer = (exchange) => {
    if (exchange.call.method === 'PATCH') exchange.json(200, {});
    else exchange.refuse(409, 'AlreadyExists', 'it is there');
  };
  await keep.put(key, 'later');
  t.match(cluster.server.calls.at(-1), { method: 'PATCH', path: own, body: { data: { kept: 'later' } } });
});

test('all() asks for the group alone and leaves alone what is none of ours', async (t) => {
  const { cluster, keep } = await setting(t);
  const items = [
    { metadata: { name: podNameFor(key) }, data: { kept: 'text' } },
    { metadata: { name: 'ls-not-a-key' }, data: { kept: 'other' } },
    { metadata: { name: podNameFor(key) }, data: {} },
  ];
  cluster.server.answer = (exchange) => exchange.json(200, { items });
  t.same([...(await keep.all())], [[key, 'text']]);
  t.match(cluster.server.calls[0]?.query, { labelSelector: new RegExp(setup.podGroup) });
});

test('forget() takes one that is gone already for forgotten', async (t) => {
  const { cluster, keep } = await setting(t);
  cluster.server.answer = (exchange) => exchange.refuse(404, 'NotFound', 'gone');
  await keep.forget(key);
  t.match(cluster.server.calls, [{ method: 'DELETE', path: own }]);
});

test('a refusal is CLUSTER_UNREACHABLE, so that it is tried again', async (t) => {
  const { cluster, keep } = await setting(t);
  cluster.server.answer = (exchange) => exchange.refuse(403, 'Forbidden', 'exceeded quota');
  for (const call of [() => keep.put(key, 'x'), () => keep.all(), () => keep.forget(key)])
    await t.rejects(
      async () => {
        await call();
      },
      {
        code: 'CLUSTER_UNREACHABLE',
        message: /exceeded quota/,
      },
    );
});
