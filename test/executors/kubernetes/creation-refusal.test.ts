/** What the API server means when it does not make a pod: its own words, as seen, and the code for each. */
import fc from 'fast-check';
import { test } from 'tap';
import { refusalFor } from '../../../src/executors/kubernetes/creation-refusal.ts';
import { FAILURES } from '../../../src/protocol/failure-table.ts';

type Row = readonly [status: number, reason: string, message: string, code: string, says: string];
const forbidden = (words: string): string => `pods "ls-a" is forbidden: ${words}`;

const REFUSALS: Readonly<Record<string, Row>> = {
  'a right that the agent lacks': [
    403,
    'Forbidden',
    forbidden(
      'User "system:serviceaccount:x:y" cannot create resource "pods" in API group "" in the namespace "x"',
    ),
    'CLUSTER_FORBIDDEN',
    'the agent may not create the pod',
  ],
  'a token that the cluster does not know': [
    401,
    'Unauthorized',
    'Unauthorized',
    'CLUSTER_FORBIDDEN',
    'the agent may not create the pod',
  ],
  'a quota that is used up': [
    403,
    'Forbidden',
    forbidden('exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0'),
    'CLUSTER_QUOTA',
    'the quota of the namespace leaves no room for the pod',
  ],
  'a quota that was made this moment': [
    403,
    'Forbidden',
    forbidden('status unknown for quota: q, resources: pods'),
    'CLUSTER_QUOTA',
    'the quota of the namespace leaves no room for the pod',
  ],
  'a quota that many pods are counted on at once': [
    409,
    'Conflict',
    'Operation cannot be fulfilled on resourcequotas "q": the object has been modified; please apply your changes to the latest version and try again',
    'CLUSTER_QUOTA',
    'the quota of the namespace leaves no room for the pod',
  ],
  'a quota on resources of which the pod says nothing': [
    403,
    'Forbidden',
    forbidden('failed quota: q: must specify limits.memory for: script'),
    'CLUSTER_POD_REFUSED',
    'the quota of the namespace wants more to be said of the pod',
  ],
  'a limit range': [
    403,
    'Forbidden',
    forbidden('maximum cpu usage per Container is 1, but limit is 2'),
    'CLUSTER_POD_REFUSED',
    'a limit range of the namespace forbids the pod',
  ],
  'pod security': [
    403,
    'Forbidden',
    forbidden('violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'),
    'CLUSTER_POD_REFUSED',
    'the pod security of the namespace forbids the pod',
  ],
  'a service account that does not exist': [
    403,
    'Forbidden',
    forbidden('error looking up service account x/nosuch: serviceaccount "nosuch" not found'),
    'CLUSTER_ACCOUNT_MISSING',
    'the pod names a service account that the namespace does not have',
  ],
  'a namespace that is being deleted': [
    403,
    'Forbidden',
    forbidden('unable to create new content in namespace x because it is being terminated'),
    'CLUSTER_POD_REFUSED',
    'the namespace of the pod is being deleted',
  ],
  'a namespace that does not exist': [
    404,
    'NotFound',
    'namespaces "x" not found',
    'CLUSTER_POD_REFUSED',
    'the namespace of the pod does not exist',
  ],
  'a webhook that says no': [
    400,
    '',
    'admission webhook "policy.example" denied the request: images must come from our registry',
    'CLUSTER_POD_REFUSED',
    'an admission rule of the cluster forbids the pod',
  ],
  'an admission policy that says no': [
    422,
    'Invalid',
    forbidden("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"),
    'CLUSTER_POD_REFUSED',
    'an admission rule of the cluster forbids the pod',
  ],
  'a webhook that does not answer': [
    500,
    'InternalError',
    'Internal error occurred: failed calling webhook "policy.example": failed to call webhook: connection refused',
    'CLUSTER_UNREACHABLE',
    'a webhook that has a say in the pod did not answer',
  ],
  'a pod that breaks the schema': [
    422,
    'Invalid',
    'Pod "ls-a" is invalid: spec.nodeSelector: Invalid value: "a b"',
    'CLUSTER_POD_REFUSED',
    'the API server finds the pod invalid',
  ],
  'a server that has too much to do': [
    429,
    'TooManyRequests',
    'the server has received too many requests',
    'CLUSTER_UNREACHABLE',
    'the API server could not create the pod now',
  ],
  'words that nobody here knows (invariant 14)': [
    403,
    'Forbidden',
    forbidden('no PriorityClass with name y was found'),
    'CLUSTER_POD_REFUSED',
    'the API server refused the pod (403 Forbidden)',
  ],
};

for (const [title, [status, reason, message, code, says]] of Object.entries(REFUSALS)) {
  test(`refusalFor() says ${code} of ${title}`, async (t) => {
    t.same(refusalFor({ status, reason, message }), {
      code,
      says: `${says}: ${message}`,
      evidence: { status, reason, message },
    });
  });
}

test('refusalFor() names what was to be made', async (t) => {
  const words = { status: 403, reason: 'Forbidden', message: 'exceeded quota: q' };
  t.match(
    refusalFor(words, 'the Secret of the pod').says,
    /^the quota .* leaves no room for the Secret of the pod: /,
  );
});

test('refusalFor() never fails, says one bounded line and a code of the cluster, whatever the answer', async (t) => {
  const text = fc.oneof(fc.string(), fc.string({ minLength: 4000, maxLength: 5000 }));
  fc.assert(
    fc.property(fc.integer({ min: 400, max: 599 }), text, text, (status, reason, message) => {
      const refusal = refusalFor({ status, reason, message });
      const size = JSON.stringify(refusal.evidence).length;
      return (
        FAILURES[refusal.code].category === 'cluster' &&
        refusal.says.length < 900 &&
        !refusal.says.includes('\n') &&
        size < 20_000
      );
    }),
  );
  t.pass();
});
