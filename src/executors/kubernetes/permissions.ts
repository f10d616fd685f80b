import type { ApiCall, ApiCaller, ApiVerb } from './api-call.ts';

/** One right that the agent needs in its namespace. */
export interface Permission {
  readonly verb: ApiVerb;
  readonly resource: string;
  /** Of the API; the core group is the empty word. */
  readonly group: string;
  readonly why: string;
}

/** A rule of a Role. */
export interface RoleRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly ApiVerb[];
}

/** Every right that the agent needs. A call that is not here is refused before it is made, so nothing is missing here. */
export const PERMISSIONS: readonly Permission[] = [
  { verb: 'create', resource: 'pods', group: '', why: 'one pod runs one script' },
  {
    verb: 'list',
    resource: 'pods',
    group: '',
    why: 'to find the pods of scripts after a start of the agent',
  },
  { verb: 'watch', resource: 'pods', group: '', why: 'to see what becomes of them' },
  {
    verb: 'patch',
    resource: 'pods',
    group: '',
    why: 'to end a script early: a deadline of one second keeps the pod and its log, a deletion would not',
  },
  {
    verb: 'delete',
    resource: 'pods',
    group: '',
    why: 'to remove the pod of a script that is completed; where `podName` is set, also its own, when its mount cannot return',
  },
  {
    verb: 'get',
    resource: 'pods/log',
    group: '',
    why: 'the output of a script arrives by the log of its pod',
  },
  {
    verb: 'create',
    resource: 'secrets',
    group: '',
    why: 'the order of a script with its keys; the pod owns it, so the cluster removes it with the pod',
  },
  {
    verb: 'list',
    resource: 'events',
    group: '',
    why: 'what cluster and nodes say about the pod of a script',
  },
  { verb: 'watch', resource: 'events', group: '', why: 'the same, as it happens' },
  {
    verb: 'create',
    resource: 'events',
    group: '',
    why: 'only where `podName` is set: what becomes of the storage, on the pod of the agent',
  },
  {
    verb: 'create',
    resource: 'configmaps',
    group: '',
    why: 'how a script ended whose volume was lost, until its server has collected it',
  },
  { verb: 'list', resource: 'configmaps', group: '', why: 'to find it again after a start of the agent' },
  { verb: 'patch', resource: 'configmaps', group: '', why: 'to add to it' },
  { verb: 'delete', resource: 'configmaps', group: '', why: 'to remove it when it was collected' },
  {
    verb: 'get',
    resource: 'deployments',
    group: 'apps',
    why: 'only where `podOwner` is set: the Deployment that owns the pods of scripts, so that they go when it goes',
  },
];

/** Calls that every account of a cluster may make (system:basic-user); no Role grants them. */
const OPEN_TO_ALL: readonly Permission[] = [
  {
    verb: 'create',
    resource: 'selfsubjectaccessreviews',
    group: 'authorization.k8s.io',
    why: 'the agent asks at its start which of its rights are missing',
  },
];

const REVIEW_PATH = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';

/** @throws {TypeError} when `call` needs a right that is not listed, or its path is not of the resource that it names. */
export function assertPermitted({ verb, resource, path }: ApiCall): void {
  const listed = [...PERMISSIONS, ...OPEN_TO_ALL].some(
    (one) => one.verb === verb && one.resource === resource,
  );
  if (!listed) throw new TypeError(`a ${verb} of ${resource} is not in the list of permissions`);
  if (resourceOf(path) !== resource) throw new TypeError(`${path} is not a path of ${resource}`);
}

/**
 * Asks the API server which of `permissions` this agent lacks in its namespace.
 *
 * @throws {Fault} CLUSTER_UNREACHABLE without an answer.
 */
export async function missingPermissions(
  connection: Pick<ApiCaller, 'namespace' | 'request'>,
  permissions: readonly Permission[] = PERMISSIONS,
): Promise<Permission[]> {
  const granted = await Promise.all(
    permissions.map(async ({ verb, resource: full, group }) => {
      const [resource, subresource] = full.split('/');
      const attributes = { namespace: connection.namespace, verb, group, resource, subresource };
      const review = await connection.request<{ status?: { allowed?: unknown } }>({
        verb: 'create',
        resource: 'selfsubjectaccessreviews',
        path: REVIEW_PATH,
        body: {
          apiVersion: 'authorization.k8s.io/v1',
          kind: 'SelfSubjectAccessReview',
          spec: { resourceAttributes: attributes },
        },
      });
      return review.status?.allowed === true;
    }),
  );
  return permissions.filter((_, index) => !granted[index]);
}

/** Returns the rules of the Role that grants `permissions`, one for each resource. */
export function roleRules(permissions: readonly Permission[] = PERMISSIONS): RoleRule[] {
  const byResource = Map.groupBy(permissions, ({ group, resource }) => `${group}/${resource}`);
  return [...byResource.values()].map((rights) => ({
    apiGroups: rights.slice(0, 1).map(({ group }) => group),
    resources: rights.slice(0, 1).map(({ resource }) => resource),
    verbs: rights.map(({ verb }) => verb),
  }));
}

/** Reads `pods/log` from /api/v1/namespaces/n/pods/name/log, and the like of groups and of what is in no namespace. */
function resourceOf(path: string): string | undefined {
  const parts = path.split('/').slice(1);
  const inGroup = parts.slice(parts[0] === 'apis' ? 3 : 2);
  const [plural, , subresource] = inGroup[0] === 'namespaces' ? inGroup.slice(2) : inGroup;
  return subresource === undefined ? plural : `${plural}/${subresource}`;
}
