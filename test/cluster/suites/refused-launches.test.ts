/** Pods that a real cluster refuses to make, through real agents; and what the agent itself refuses. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { PERMISSIONS, roleRules, type Permission } from '../../../src/executors/kubernetes/permissions.ts';
import type { AgentProcess } from '../../harness/agent-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { agentGroundFor, type AgentGround } from './agent-ground.ts';
import { own } from './ground.ts';
import {
  complete,
  endOf,
  neverRuns,
  podOf,
  saysLine,
  start,
  strangerPod,
  textsOf,
  type Expected,
} from './provoked.ts';

const TICKET = 'longshore.dev/ticket';
const ACCOUNT = 'agent';
const RBAC = 'rbac.authorization.k8s.io';
const hasty = ['--pod-launch-timeout-ms', '20000'];
const policy = { serviceAccounts: ['*'], resources: { memory: '1Gi' } };

let ground: AgentGround;
let agent: AgentProcess;

t.before(async () => {
  ground = await agentGroundFor(t);
  agent = await ground.agent([...hasty, '--pod-policy', JSON.stringify(policy)]);
});

t.test('a service account that is not there: CLUSTER_ACCOUNT_MISSING', async (t) => {
  await start(agent, 'no-account', { pod: { serviceAccount: 'nosuch' } });
  await neverRuns(t, { ground, agent }, 'no-account', {
    code: 'CLUSTER_ACCOUNT_MISSING',
    says: /^the pod names a service account that the namespace does not have: .*"nosuch" not found/,
    raw: /"status":403,"reason":"Forbidden","message":".*serviceaccount \\"nosuch\\" not found/,
    told: /does not have: .*"nosuch" not found/,
  });
});

t.test('a quota that is used up: CLUSTER_QUOTA, when the time of the launch is over', async (t) => {
  await quotaOf(t, 'none');
  await start(agent, 'over-quota');
  await eventually(async () => (await answerOf('over-quota')).includes('exceeded quota: none'), 30_000);
  t.match(JSON.parse(await answerOf('over-quota')), { state: 'published', outcome: null });
  await neverRuns(t, { ground, agent }, 'over-quota', {
    code: 'CLUSTER_QUOTA',
    says: /^the quota of the namespace leaves no room for the pod: .*exceeded quota: none/,
    // At most one each second; without pauses it would be 40 in these 20 s.
    raw: /"reason":"Forbidden","message":".*requested: pods=1, used: pods=0, limited: pods=0","launches":1?\d\}/,
    told: /leaves no room for the pod: .*exceeded quota: none/,
  });
});

t.test('a quota that is lifted in time costs time, and the journal tells why', async (t) => {
  const lift = await quotaOf(t, 'brief');
  await start(agent, 'lifted');
  await eventually(async () => (await answerOf('lifted')).includes('exceeded quota: brief'), 30_000);
  await lift();
  const { outcome, lines } = await endOf(agent, 'lifted');
  t.match(outcome, { code: 'SUCCEEDED', exitCode: 0 });
  t.same(textsOf(lines, 'stdout'), ['ran']);
  t.match(textsOf(lines, 'pod').join('\n'), /exceeded quota: brief[\s\S]*^Scheduled: /m);
});

t.test('a limit range: CLUSTER_POD_REFUSED, at once', async (t) => {
  const limits = [{ type: 'Container', max: { memory: '64Mi' } }];
  await ground.cluster.apply(object('v1', 'LimitRange', 'small', { spec: { limits } }));
  t.teardown(() => ground.kubectl('delete', 'limitrange', 'small'));
  await isRefused({ resources: { limits: { memory: '128Mi' } } }, 'maximum memory usage per Container');
  await start(agent, 'too-large', { pod: { resources: { limits: { memory: '128Mi' } } } });
  await neverRuns(t, { ground, agent }, 'too-large', {
    code: 'CLUSTER_POD_REFUSED',
    says: /^a limit range of the namespace forbids the pod: .*maximum memory usage per Container is 64Mi/,
    raw: /"reason":"Forbidden","message":".*maximum memory usage/,
    told: /^a limit range of the namespace forbids the pod: ./m,
  });
});

t.test('an admission policy of the cluster: CLUSTER_POD_REFUSED, with its words', async (t) => {
  await forbidTicket(t, 'unwanted');
  await isRefused({ annotations: { [TICKET]: 'unwanted' } }, 'not on Fridays');
  await start(agent, 'unwanted');
  await neverRuns(t, { ground, agent }, 'unwanted', {
    code: 'CLUSTER_POD_REFUSED',
    says: /^an admission rule of the cluster forbids the pod: .*not on Fridays$/,
    raw: /"message":".*ValidatingAdmissionPolicy.*not on Fridays"/,
    told: /^an admission rule of the cluster forbids the pod: ./m,
  });
});

t.test('a webhook that does not answer: CLUSTER_UNREACHABLE, when the time is over', async (t) => {
  await deafWebhook(t, 'unheard');
  await isRefused({ annotations: { [TICKET]: 'unheard' } }, 'failed calling webhook');
  await start(agent, 'unheard');
  await neverRuns(t, { ground, agent }, 'unheard', {
    code: 'CLUSTER_UNREACHABLE',
    says: /^a webhook that has a say in the pod did not answer: .*failed calling webhook/,
    raw: /"status":500,"reason":"InternalError","message":".*connection refused/,
    told: /^a webhook that has a say in the pod did not answer: ./m,
  });
});

t.test(
  'the name of its pod is taken by somebody else: CLUSTER_POD_REFUSED, and that pod stays',
  async (t) => {
    const name = podOf('squatted');
    await ground.cluster.apply(strangerPod(ground.namespace, name));
    await start(agent, 'squatted');
    // Its pod is not gone afterwards: it is none of ours.
    const { outcome, lines } = await endOf(agent, 'squatted');
    t.match(outcome, { code: 'CLUSTER_POD_REFUSED', exitCode: null, startedAt: null, evidence: { name } });
    t.match(outcome.says, new RegExp(`^the name ${name} is taken by a pod that is none of ours, of nobody$`));
    t.same(textsOf(lines, 'stdout'), []);
    t.equal((await agent.call('DELETE', '/v1/scripts/squatted')).status, 204);
    const path = 'jsonpath={.metadata.name},{.metadata.deletionTimestamp}';
    t.equal(await ground.kubectl('get', 'pod', name, '-o', path), `${name},`);
    await ground.kubectl('delete', 'pod', name, '--force', '--grace-period=0');
  },
);

t.test('what the policy of the agent does not name: POD_NOT_ALLOWED, and nothing is staged', async (t) => {
  const script = { language: 'bash', body: 'echo ran', pod: { resources: { limits: { memory: '2Gi' } } } };
  const refused = await agent.call('PUT', '/v1/scripts/not-allowed', script);
  const field = '/pod/resources/limits/memory';
  t.match(refused, { status: 422, json: { code: 'POD_NOT_ALLOWED', field } });
  t.equal((await agent.call('GET', '/v1/scripts/not-allowed')).status, 404);
});

t.test('completed, they leave nothing', async (t) => {
  const tickets = ['no-account', 'over-quota', 'lifted', 'too-large', 'unwanted', 'unheard'];
  await complete(t, { ground, agent }, tickets);
});

t.test('a right that is missing: the agent does not start, and names it: CLUSTER_FORBIDDEN', async (t) => {
  await agent.stop();
  await grant(({ verb, resource }) => `${verb} ${resource}` !== 'create secrets');
  const says = /ended \(77\):[\s\S]*lacks rights in ls-[0-9a-f]+: create secrets \(CLUSTER_FORBIDDEN\)/;
  await t.rejects(ground.agent(await asAccount(t)), { message: says });
});

t.test('a right that is lost while it runs: CLUSTER_FORBIDDEN, and the half-made pod goes', async (t) => {
  await grant(() => true);
  const agent = await ground.agent([...hasty, ...(await asAccount(t))]);
  t.teardown(() => agent.kill());
  await start(agent, 'permitted', { body: 'echo ready; sleep 10; echo done' });
  await saysLine(agent, 'permitted', 'ready');
  const lost = (what: string): Expected => ({
    code: 'CLUSTER_FORBIDDEN',
    says: new RegExp(`^the API server refused a create of ${what} to the agent$`),
    raw: /"status":403,"evidence":".*cannot create resource/,
    told: new RegExp(`^the API server refused a create of ${what} to the agent$`, 'm'),
  });
  await grant(({ verb, resource }) => `${verb} ${resource}` !== 'create secrets');
  await start(agent, 'no-secrets');
  await neverRuns(t, { ground, agent }, 'no-secrets', lost('secrets'));
  await grant(({ verb }) => verb !== 'create');
  await start(agent, 'no-pods');
  await neverRuns(t, { ground, agent }, 'no-pods', lost('pods'));
  t.match((await endOf(agent, 'permitted')).outcome, { code: 'SUCCEEDED' }, 'what runs goes on');
  await complete(t, { ground, agent }, ['permitted', 'no-secrets', 'no-pods']);
});

async function answerOf(ticket: string): Promise<string> {
  const { text } = await agent.call('GET', `/v1/scripts/${ticket}`);
  return text;
}

function object(apiVersion: string, kind: string, name: string, more: object): object {
  return { apiVersion, kind, metadata: { name, namespace: ground.namespace }, ...more };
}

/** Waits until the API server refuses such a pod in such words: it learns of a rule some moments after that was made. */
async function isRefused(pod: Parameters<typeof strangerPod>[2], words: string): Promise<void> {
  const { cluster, namespace } = ground;
  const tried = JSON.stringify(strangerPod(namespace, 'trial', pod));
  const refusal = async (): Promise<string> =>
    cluster.kubectl(['create', '--dry-run=server', '-f', '-'], tried).catch(String);
  await eventually(async () => (await refusal()).includes(words), 60_000);
}

/** Leaves no room for pods; returns how to lift it. */
async function quotaOf(t: Test, name: string): Promise<() => Promise<void>> {
  await ground.cluster.apply(object('v1', 'ResourceQuota', name, { spec: { hard: { pods: '0' } } }));
  const lift = async (): Promise<void> => {
    await ground.kubectl('delete', 'resourcequota', name, '--ignore-not-found');
  };
  t.teardown(lift);
  await isRefused({}, `exceeded quota: ${name}`);
  return lift;
}

async function forbidTicket(t: Test, ticket: string): Promise<void> {
  const { cluster, namespace } = ground;
  const [apiVersion, name] = ['admissionregistration.k8s.io/v1', `${namespace}-policy`];
  const matched = [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }];
  const expression = `object.metadata.?annotations[?'${TICKET}'].orValue('') != '${ticket}'`;
  t.teardown(() =>
    cluster.kubectl(['delete', 'validatingadmissionpolicy,validatingadmissionpolicybinding', name]),
  );
  await cluster.apply(
    object(apiVersion, 'ValidatingAdmissionPolicy', name, {
      spec: {
        matchConstraints: { resourceRules: matched },
        validations: [{ expression, message: 'not on Fridays' }],
      },
    }),
    object(apiVersion, 'ValidatingAdmissionPolicyBinding', name, {
      spec: { policyName: name, validationActions: ['Deny'], matchResources: inNamespace() },
    }),
  );
}

/** Asks a webhook where nobody listens about the pod of one ticket. */
async function deafWebhook(t: Test, ticket: string): Promise<void> {
  const { cluster, namespace } = ground;
  const name = `${namespace}-webhook`;
  const webhook = {
    ...{ name: 'deaf.test.longshore.dev', failurePolicy: 'Fail', sideEffects: 'None', timeoutSeconds: 2 },
    ...{
      admissionReviewVersions: ['v1'],
      clientConfig: { url: 'https://127.0.0.1:1/deaf' },
      ...inNamespace(),
    },
    matchConditions: [
      { name: 'ticket', expression: `object.metadata.?annotations[?'${TICKET}'].orValue('') == '${ticket}'` },
    ],
    rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }],
  };
  t.teardown(() => cluster.kubectl(['delete', 'validatingwebhookconfiguration', name]));
  const kind = 'ValidatingWebhookConfiguration';
  await cluster.apply(object('admissionregistration.k8s.io/v1', kind, name, { webhooks: [webhook] }));
}

function inNamespace(): object {
  return { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': ground.namespace } } };
}

/** Gives the service account of the agent those of the rights that an agent needs, and no others. */
async function grant(has: (right: Permission) => boolean): Promise<void> {
  const granted = PERMISSIONS.filter(has);
  const subjects = [{ kind: 'ServiceAccount', name: ACCOUNT, namespace: ground.namespace }];
  const roleRef = { apiGroup: RBAC, kind: 'Role', name: ACCOUNT };
  await ground.cluster.apply(
    object('v1', 'ServiceAccount', ACCOUNT, {}),
    object(`${RBAC}/v1`, 'Role', ACCOUNT, { rules: roleRules(granted) }),
    object(`${RBAC}/v1`, 'RoleBinding', ACCOUNT, { roleRef, subjects }),
  );
  const as = ['--as', `system:serviceaccount:${ground.namespace}:${ACCOUNT}`];
  for (const resource of ['secrets', 'pods']) {
    const expected = granted.some((one) => one.verb === 'create' && one.resource === resource);
    // kubectl leaves with 1 where the answer is no.
    const can = async (): Promise<boolean> =>
      (await ground.kubectl('auth', 'can-i', 'create', resource, ...as).catch(() => 'no')).startsWith('yes');
    await eventually(async () => (await can()) === expected, 30_000);
  }
}

/** The flags of an agent that is the service account. */
async function asAccount(t: Test): Promise<string[]> {
  const admin = ['config', 'view', '--raw', '--minify', '-o', 'json'];
  const config = JSON.parse(await ground.cluster.kubectl(admin)) as { users: { user: object }[] };
  const token = (await ground.kubectl('create', 'token', ACCOUNT)).trim();
  for (const one of config.users) one.user = { token };
  const folder = temporaryFolder(t, 'longshore-account');
  const path = join(folder, `${randomBytes(4).toString('hex')}.kubeconfig`);
  writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
  own(folder);
  return ['--kubeconfig', path];
}
