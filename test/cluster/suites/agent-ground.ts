import { chmodSync, copyFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ScriptStatus } from '../../../src/protocol/script-status.ts';
import { AgentProcess } from '../../harness/agent-process.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { makePublicAgent } from './public-agent.ts';
import { put } from './steady-script.ts';
import { groundFor, own, podFlags, USER, type Ground } from './ground.ts';

type Teardown = { teardown: (work: () => unknown) => void };

/** Agents of one volume and one key, as processes of this machine: quick to kill. */
export interface AgentGround extends Ground {
  /** Starts an agent that is ended with the test; each has the key and the tokens of the others. */
  readonly agent: (flags?: readonly string[]) => Promise<AgentProcess>;
  /** Names of what is left in the namespace of a kind. */
  readonly names: (kind: string) => Promise<string[]>;
}

export async function agentGroundFor(t: Teardown): Promise<AgentGround> {
  const ground = await groundFor(t);
  const volume = ground.subfolder('volume');
  const state = temporaryFolder(t, 'longshore-state');
  const kubeconfig = join(state, 'kubeconfig');
  copyFileSync(ground.cluster.kubeconfig, kubeconfig);
  chmodSync(kubeconfig, 0o600);
  own(state);
  const common = podFlags({ ...ground, cluster: { ...ground.cluster, kubeconfig } }, 'volume');
  const copy = makePublicAgent();
  t.teardown(() => copy.remove());
  const { node, program } = copy;
  let started = 0;
  return {
    ...ground,
    agent: async (flags = []) => {
      started += 1;
      const shared = ['--key', join(state, 'key'), '--tokens', join(state, 'tokens')];
      return AgentProcess.start(t, {
        volume,
        state: started === 1 ? state : join(state, `agent-${started}`),
        tokens: join(state, 'tokens'),
        ...{ node, program, user: USER },
        flags: [...common, ...shared, ...flags],
      });
    },
    names: async (kind) => {
      const text = await ground.kubectl('get', kind, '-o', 'jsonpath={.items[*].metadata.name}');
      return text.split(' ').filter((name) => name !== '' && name !== 'kube-root-ca.crt');
    },
  };
}

/** Runs a script to its end. */
export async function runScript(agent: AgentProcess, ticket: string, body: object): Promise<ScriptStatus> {
  await put(agent, ticket, body);
  return (await agent.follow(ticket)).status;
}
