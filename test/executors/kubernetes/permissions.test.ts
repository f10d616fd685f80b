/** The rights of the agent: one list, which every call is held to, and which the page and the Role follow. */
import { test } from 'tap';
import type { ApiCall } from '../../../src/executors/kubernetes/api-call.ts';
import { KubeConnection } from '../../../src/executors/kubernetes/connection.ts';
import {
  assertPermitted,
  missingPermissions,
  PERMISSIONS,
  roleRules,
} from '../../../src/executors/kubernetes/permissions.ts';
import { rbacPage } from '../../gate/rbac-page.ts';
import { FakeApiServer } from '../../harness/fake-api-server.ts';

test('PERMISSIONS has no exec, no attach, no reading of secrets, and no wildcard', async (t) => {
  const rights = PERMISSIONS.map(({ verb, resource }) => `${verb} ${resource}`);
  t.same(
    rights.filter((right) => /exec|attach|\*|(get|list|watch|patch|delete) secrets/.test(right)),
    [],
  );
  t.equal(new Set(rights).size, rights.length);
});

test('assertPermitted() holds a call to the list and its path to its resource', async (t) => {
  const call = (verb: ApiCall['verb'], resource: string, path: string) => () =>
    assertPermitted({ verb, resource, path });
  t.doesNotThrow(call('get', 'pods/log', '/api/v1/namespaces/n/pods/p/log'));
  t.doesNotThrow(call('delete', 'pods', '/api/v1/namespaces/n/pods/p'));
  t.doesNotThrow(
    call('create', 'selfsubjectaccessreviews', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'),
  );
  t.throws(call('get', 'secrets', '/api/v1/namespaces/n/secrets/s'), TypeError);
  t.throws(call('create', 'pods', '/api/v1/namespaces/n/pods/p/exec'), TypeError);
  t.throws(call('create', 'pods/exec', '/api/v1/namespaces/n/pods/p/exec'), TypeError);
  t.throws(call('list', 'pods', '/api/v1/namespaces/n/secrets'), TypeError);
  t.throws(call('list', 'pods', '/api/v1/nodes'), TypeError);
});

test('missingPermissions() names what the API server says the agent may not do', async (t) => {
  const server = await FakeApiServer.start(t);
  const kubeconfig = server.kubeconfig({ token: 'x' });
  const connection = await KubeConnection.open({
    kubeconfig,
    requestDeadlineMs: 5000,
    observe: () => undefined,
  });
  t.teardown(() => connection.close());
  server.answer = (exchange) => {
    const { spec } = exchange.call.body as {
      spec: {
        resourceAttributes: { verb: string; resource: string; subresource?: string; namespace: string };
      };
    };
    const { verb, resource, subresource, namespace } = spec.resourceAttributes;
    const isMissing = subresource === 'log' || (verb === 'patch' && resource === 'pods');
    exchange.json(201, { status: { allowed: namespace === 'team' && !isMissing } });
  };
  const missing = await missingPermissions(connection);
  t.same(
    missing.map(({ verb, resource }) => [verb, resource]),
    [
      ['patch', 'pods'],
      ['get', 'pods/log'],
    ],
  );
  t.equal(server.calls.length, PERMISSIONS.length);
});

test('roleRules() grants each right once, by resource', async (t) => {
  const granted = roleRules().flatMap(({ resources, verbs }) =>
    resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`)),
  );
  t.same(granted.sort(), PERMISSIONS.map(({ verb, resource }) => `${verb} ${resource}`).sort());
  t.same(roleRules([]), []);
});

test('rbacPage() shows every right with its reason, and the Role as YAML', async (t) => {
  const page = rbacPage();
  for (const { resource, why } of PERMISSIONS) {
    t.match(page, why);
    t.match(page, `- '${resource}'`);
  }
  t.match(page, /^kind: Role$/m);
});
