import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '../../protocol/fault.ts';
import type { Credentials, CredentialSource } from './credentials.ts';

/** Where a kubelet puts token, CA and namespace of a pod's service account. */
const FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The service account of the pod that the agent runs in. */
export class ServiceAccount implements CredentialSource {
  readonly server: URL;
  readonly namespace: string;
  readonly #folder: string;

  private constructor(server: URL, namespace: string, folder: string) {
    this.server = server;
    this.namespace = namespace;
    this.#folder = folder;
  }

  /** @throws {Fault} CONFIG_INVALID where no service account is mounted. */
  static async open(server: string, folder: string = FOLDER): Promise<ServiceAccount> {
    try {
      const namespace = (await fs.readFile(join(folder, 'namespace'), 'utf8')).trim();
      return new ServiceAccount(new URL(server), namespace, folder);
    } catch (error) {
      throw new Fault(
        'CONFIG_INVALID',
        `no kubeconfig is set, and there is no service account in ${folder}: outside of a cluster a kubeconfig is needed`,
        { cause: error },
      );
    }
  }

  async load(): Promise<Credentials> {
    const read = (name: string): Promise<string> => fs.readFile(join(this.#folder, name), 'utf8');
    const [token, ca] = await Promise.all([read('token'), read('ca.crt')]);
    return { headers: { authorization: `Bearer ${token.trim()}` }, tls: { ca } };
  }

  forget(): void {
    // Every load reads the files.
  }
}
