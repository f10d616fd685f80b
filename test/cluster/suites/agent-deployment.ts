import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ScriptStatus } from '../../../src/protocol/script-status.ts';
import { eventually } from '../../harness/eventually.ts';
import { projectImages } from '../project-images.ts';
import { CLAIM, USER, type Ground } from './ground.ts';

const NAME = 'longshore';
const TOKEN = 'the-token-of-the-test-server-0123456789';

/** The Role as docs/reference/rbac.md gives it: what a reader copies must do. */
export function documentedRole(): string {
  const page = readFileSync('docs/reference/rbac.md', 'utf8');
  return /```yaml\n([^`]+)```/.exec(page)?.[1] ?? '';
}

/** Agents as the guide deploys them, in a namespace that enforces pod security. */
export class AgentDeployment {
  readonly #ground: Ground;

  private constructor(ground: Ground) {
    this.#ground = ground;
  }

  static async start(ground: Ground, replicas: number): Promise<AgentDeployment> {
    const { cluster, namespace } = ground;
    ground.subfolder('volume');
    await cluster.kubectl(['apply', '-f', '-', '--namespace', namespace], documentedRole());
    await cluster.apply(...accountOf(namespace), secretOf(namespace), deploymentOf(namespace, replicas));
    const deployment = new AgentDeployment(ground);
    await ground.kubectl('rollout', 'status', `deployment/${NAME}`, '--timeout=120s');
    return deployment;
  }

  /** Addresses of the agents that are ready. */
  async addresses(): Promise<string[]> {
    const path =
      'jsonpath={range .items[?(@.status.phase=="Running")]}{.status.podIP},{.metadata.deletionTimestamp} {end}';
    const text = await this.#ground.kubectl('get', 'pods', '-l', `app=${NAME}`, '-o', path);
    return text
      .trim()
      .split(' ')
      .map((row) => row.split(','))
      .flatMap(([ip = '', deleted]) => (deleted === '' && ip !== '' ? [ip] : []));
  }

  async call(
    address: string,
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; json: Record<string, unknown> }> {
    const answer = await fetch(`http://${address}:8460${path}`, {
      method,
      headers: {
        authorization: `Bearer ${TOKEN}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(90_000),
    });
    const text = await answer.text();
    return { status: answer.status, json: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) };
  }

  async status(address: string, ticket: string, after = 's0.a0'): Promise<ScriptStatus> {
    const { status, json } = await this.call(address, 'GET', `/v1/scripts/${ticket}?after=${after}`);
    if (status !== 200) throw new Error(`${ticket}: ${status} ${JSON.stringify(json)}`);
    // Checked against the schema in test/api; here it is read.
    return json as unknown as ScriptStatus;
  }

  /** Waits for the outcome, asking whichever agent answers. */
  async finished(ticket: string, deadlineMs = 90_000): Promise<ScriptStatus> {
    let found: ScriptStatus | undefined;
    await eventually(async () => {
      for (const address of await this.addresses()) {
        found = await this.status(address, ticket).catch(() => undefined);
        if (found?.outcome) return true;
      }
      return false;
    }, deadlineMs);
    if (!found) throw new Error(`${ticket} has no status`);
    return found;
  }

  /** Ends every agent at once, without a grace; the Deployment makes new ones. */
  async killAll(): Promise<void> {
    await this.#ground.kubectl('delete', 'pods', '-l', `app=${NAME}`, '--force', '--grace-period=0');
  }
}

function accountOf(namespace: string): object[] {
  const metadata = { name: NAME, namespace };
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: NAME },
      subjects: [{ kind: 'ServiceAccount', name: NAME, namespace }],
    },
  ];
}

function secretOf(namespace: string): object {
  const stringData = { key: randomBytes(32).toString('base64'), tokens: `server:${TOKEN}\n` };
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name: NAME, namespace }, stringData };
}

function deploymentOf(namespace: string, replicas: number): object {
  const labels = { app: NAME };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: NAME, namespace },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: podSpec() },
    },
  };
}

function podSpec(): object {
  const args = {
    ...{ executor: 'kubernetes', claim: CLAIM, 'claim-folder': 'volume', 'pod-owner': NAME },
    ...{ 'script-image': projectImages.script, 'runner-image': projectImages.runner },
    ...{ 'image-pull-policy': 'Never', key: '/secrets/key', tokens: '/secrets/tokens' },
  };
  return {
    serviceAccountName: NAME,
    terminationGracePeriodSeconds: 15,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: USER,
      runAsGroup: USER,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [
      {
        name: 'agent',
        image: projectImages.agent,
        imagePullPolicy: 'Never',
        args: ['serve', ...Object.entries(args).map(([name, value]) => `--${name}=${value}`)],
        readinessProbe: { httpGet: { path: '/readyz', port: 8460 }, periodSeconds: 1 },
        livenessProbe: { httpGet: { path: '/livez', port: 8460 }, periodSeconds: 5 },
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        },
        volumeMounts: [
          { name: 'volume', mountPath: '/volume', subPath: 'volume' },
          { name: 'state', mountPath: '/state' },
          { name: 'secrets', mountPath: '/secrets', readOnly: true },
          { name: 'tmp', mountPath: '/tmp' },
        ],
      },
    ],
    volumes: [
      { name: 'volume', persistentVolumeClaim: { claimName: CLAIM } },
      { name: 'state', emptyDir: {} },
      { name: 'secrets', secret: { secretName: NAME } },
      { name: 'tmp', emptyDir: {} },
    ],
  };
}
