import { readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { ScriptStatus } from '../../../src/protocol/script-status.ts';
import { eventually } from '../../harness/eventually.ts';
import { blocksOf, freePort, pathWithLongshore, shell } from '../../harness/guide-page.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { places } from '../places.ts';
import { projectImages } from '../project-images.ts';
import type { Ground } from './ground.ts';

type Teardown = { teardown: (work: () => void) => void };

const NAME = 'longshore';
const GUIDE = 'docs/guides/kubernetes.md';

/** Agents as the guide deploys them: with its files, by its commands, in a namespace that enforces pod security. */
export class AgentDeployment {
  readonly #ground: Ground;
  readonly #folder: string;

  private constructor(ground: Ground, folder: string) {
    this.#ground = ground;
    this.#folder = folder;
  }

  /** `ground` has a claim of the name that the guide uses. */
  static async start(t: Teardown, ground: Ground): Promise<AgentDeployment> {
    const folder = temporaryFolder(t, 'longshore-guide');
    writeFileSync(join(folder, 'role.yaml'), codeOf('docs/reference/rbac.md', 'yaml'));
    writeFileSync(join(folder, 'longshore.yaml'), withBuiltImages(codeOf(GUIDE, 'yaml')));
    const deployment = new AgentDeployment(ground, folder);
    await deployment.#run(t, codeOf(GUIDE, 'bash'));
    return deployment;
  }

  /** Runs a script by the commands of the guide, and returns what they print. */
  async firstScript(t: Teardown): Promise<string> {
    return this.#run(t, codeOf(GUIDE, 'bash', 1));
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
        authorization: `Bearer ${this.#token}`,
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

  get #token(): string {
    return readFileSync(join(this.#folder, 'tokens'), 'utf8').trim().replace(/^.*:/, '');
  }

  async #run(t: Teardown, commands: string): Promise<string> {
    const { cluster, namespace } = this.#ground;
    const path = pathWithLongshore(join(this.#folder, 'bin'));
    const { code, output } = await shell(t, commands, {
      cwd: this.#folder,
      env: {
        ...{ KUBECONFIG: cluster.kubeconfig, NAMESPACE: namespace, PORT: await freePort() },
        PATH: [places.bin, path].join(delimiter),
      },
      deadlineMs: 180_000,
    });
    if (code !== 0) throw new Error(`the guide ended with ${code}:\n${output}`);
    return output;
  }
}

/** One of the blocks of a language on a page. */
function codeOf(page: string, language: string, index = 0): string {
  const block = blocksOf(page).filter((one) => one.language === language)[index];
  if (block === undefined) throw new Error(`${page} has no block ${index} of ${language}`);
  return block.body;
}

/** There is no registry: the nodes have the images under the names that were built. */
function withBuiltImages(text: string): string {
  return text.replace(
    /registry\.example\.com\/longshore-(agent|script|runner):[\d.]+/g,
    (_, name: string) =>
      // The pattern has no other names.
      projectImages[name as keyof typeof projectImages],
  );
}
