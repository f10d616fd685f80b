import { PERMISSIONS, roleRules, type RoleRule } from '../../src/executors/kubernetes/permissions.ts';
import { table } from './markdown-table.ts';

/** Renders docs/reference/rbac.md. */
export function rbacPage(): string {
  const rows = PERMISSIONS.map(({ resource, verb, why }) => [`\`${resource}\``, verb, why]);
  return `# Rights in the cluster

What an agent with the Kubernetes executor may do, all of it in its own namespace. The agent makes no other call: one
that is not in this list is refused inside of it. At its start it asks the API server for each of these rights, and
names those that are missing (\`CLUSTER_FORBIDDEN\`).

${table(['resource', 'verb', 'what for'], rows)}

There is no exec and no attach, no reading of Secrets, and nothing outside of the namespace. The question which rights
are missing (\`selfsubjectaccessreviews\`) is open to every account of a cluster.

The same as a Role, for the service account of the agent:

\`\`\`yaml
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: longshore
rules:
${roleRules().map(ruleAsYaml).join('\n')}
\`\`\`

The pods of scripts get no service account token, and need no rights.
`;
}

function ruleAsYaml({ apiGroups, resources, verbs }: RoleRule): string {
  const list = (name: string, words: readonly string[]): string =>
    `${name}:\n${words.map((word) => `      - '${word}'`).join('\n')}`;
  return `  - ${list('apiGroups', apiGroups)}\n    ${list('resources', resources)}\n    ${list('verbs', verbs)}`;
}
