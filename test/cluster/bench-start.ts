/** How long a script pod takes to its first line, against a bare pod of the same image. */
import { setTimeout as pause } from 'node:timers/promises';
import { KubeConnection } from '../../src/executors/kubernetes/connection.ts';
import { pathFor } from '../../src/executors/kubernetes/api-call.ts';
import { median, quantile, type BenchResult } from '../bench/bench-result.ts';
import { eventually } from '../harness/eventually.ts';
import type { BenchAgent } from './bench-agent.ts';
import { projectImages } from './project-images.ts';
import { USER, type Ground } from './suites/ground.ts';

const ROUNDS = 20;
const GOAL = 1.1;
const LOOK_MS = 100;

interface PodList {
  readonly items: readonly { readonly status?: { readonly phase?: string } }[];
}

/** All in milliseconds since the request was sent. */
interface Round {
  readonly empty: number;
  readonly bare: number;
  readonly written: number;
  readonly seen: number;
}

/** What a user would write who has no Longshore: the script in the pod, and the claim where the packages are. */
function barePod({ namespace }: Ground, name: string, mountsClaim: boolean): object {
  const volume = { name: 'volume', persistentVolumeClaim: { claimName: 'longshore' } };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      restartPolicy: 'Never',
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: { runAsNonRoot: true, runAsUser: USER, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'script',
          image: projectImages.script,
          imagePullPolicy: 'Never',
          command: ['bash', '-c', 'echo "$EPOCHREALTIME"'],
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
          ...(mountsClaim && { volumeMounts: [{ name: 'volume', mountPath: '/volume' }] }),
        },
      ],
      ...(mountsClaim && { volumes: [volume] }),
    },
  };
}

/** From the request for the pod to its first line, by the clock of this machine, which is that of the nodes. */
async function bareMs(
  connection: KubeConnection,
  ground: Ground,
  pod: object,
  name: string,
): Promise<number> {
  const path = pathFor(ground.namespace, 'pods');
  const began = Date.now();
  await connection.request({ verb: 'create', resource: 'pods', path, body: pod });
  const query = { fieldSelector: `metadata.name=${name}` };
  const hasEnded = async (): Promise<boolean> => {
    // Seldom, and not by a kubectl each time: looking must not take the processor from the pod.
    await pause(LOOK_MS);
    const list: PodList = await connection.request({ verb: 'list', resource: 'pods', path, query });
    return list.items[0]?.status?.phase === 'Succeeded';
  };
  await eventually(hasEnded, 60_000);
  const text = await ground.kubectl('logs', name);
  await ground.kubectl('delete', 'pod', name);
  return Number(text) * 1000 - began;
}

async function scriptMs(agent: BenchAgent, ticket: string): Promise<{ written: number; seen: number }> {
  const began = Date.now();
  await agent.call('PUT', `/v1/scripts/${ticket}`, { language: 'bash', body: 'echo "$EPOCHREALTIME"' });
  let seen = 0;
  let text = '';
  for (let cursor = 's0.a0'; text === '';) {
    const { json } = await agent.call('GET', `/v1/scripts/${ticket}?after=${cursor}&wait=20`);
    const { next, lines } = json['journal'] as { next: string; lines: { stream: string; text: string }[] };
    cursor = next;
    seen = Date.now();
    text = lines.find(({ stream }) => stream === 'stdout')?.text ?? '';
  }
  await agent.outcome(ticket);
  await agent.call('DELETE', `/v1/scripts/${ticket}`);
  await agent.ground.kubectl('wait', 'pods', '-l', MANAGED, '--for=delete', '--timeout=60s');
  return { written: Number(text) * 1000 - began, seen: seen - began };
}

const MANAGED = 'app.kubernetes.io/managed-by=longshore';

async function measure(agent: BenchAgent): Promise<Round[]> {
  const { ground } = agent;
  const { kubeconfig } = ground.cluster;
  const connection = await KubeConnection.open({
    ...{ kubeconfig, namespace: ground.namespace },
    requestDeadlineMs: 30_000,
    observe: () => undefined,
  });
  const bare = (name: string, mountsClaim: boolean): Promise<number> =>
    bareMs(connection, ground, barePod(ground, name, mountsClaim), name);
  const rounds: Round[] = [];
  try {
    // Not counted: the first of each kind warms caches of both nodes.
    for (let round = -2; round < ROUNDS; round += 1) {
      const empty = await bare(`empty-${round + 2}`, false);
      const mounting = await bare(`bare-${round + 2}`, true);
      const found = { empty, bare: mounting, ...(await scriptMs(agent, `start-${round + 2}`)) };
      if (round >= 0) rounds.push(found);
    }
  } finally {
    await connection.close();
  }
  return rounds;
}

export async function starts(agent: BenchAgent): Promise<BenchResult> {
  const rounds = await measure(agent);
  const of = (pick: (round: Round) => number): number[] => rounds.map(pick);
  const ratio = median(of(({ written, bare }) => written / bare));
  const ms = (label: string, value: number): BenchResult['rows'][number] => ({ label, value, unit: 'ms' });
  return {
    name: 'start of a script pod',
    goal: `the first line is written at most ${GOAL} times as late as by a bare pod of the same image with the same claim`,
    rows: [
      ms('bare pod that mounts the claim: first line written, median', median(of((one) => one.bare))),
      ms('script: first line written, median', median(of((one) => one.written))),
      ms(
        'script: first line written, slowest',
        quantile(
          of((one) => one.written),
          1,
        ),
      ),
      ms('script: first line at the client, median', median(of((one) => one.seen))),
      ms(
        'script: first line at the client, slowest',
        quantile(
          of((one) => one.seen),
          1,
        ),
      ),
      { label: 'ratio of written to bare, median of pairs', value: ratio, unit: '×' },
      ms('bare pod without any volume: first line written, median', median(of((one) => one.empty))),
      {
        label: 'ratio of written to that one, median of pairs',
        value: median(of(({ written, empty }) => written / empty)),
        unit: '×',
      },
    ],
    met: ratio <= GOAL,
    notes: [
      'The bare pods are created by the same code, and run one line of bash; a script is also staged, verified, sealed and published.',
      'A pod with any volume, be it the token of a service account, waits for a kubelet that asks every 300 ms whether its volumes are mounted (`podAttachAndMountRetryInterval` in pkg/kubelet/volumemanager/volume_manager.go). A pod without volumes does not, and cannot see a package either.',
    ],
  };
}
