import type { RequestOptions } from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import { Fault } from '../../protocol/fault.ts';
import type { Credentials, CredentialSource, TlsMaterial } from './credentials.ts';

/** A kubeconfig file with its certificates, tokens and plugins, read by client-node. */
export class Kubeconfig implements CredentialSource {
  readonly server: URL;
  readonly namespace: string | undefined;
  readonly #open: () => KubeConfig;
  #config: KubeConfig | undefined;

  private constructor(open: () => KubeConfig) {
    this.#open = open;
    this.#config = open();
    const cluster = this.#config.getCurrentCluster();
    if (cluster === null) throw new Error('its context names no cluster');
    if (cluster.proxyUrl) throw new Error('proxy-url is not supported');
    this.server = new URL(cluster.server);
    this.namespace = this.#config.getContextObject(this.#config.getCurrentContext())?.namespace;
  }

  /**
   * Reads the file `path`; `context` is the one of the file by default.
   *
   * @throws {Fault} CONFIG_INVALID when it cannot be read or used.
   */
  static async open(path: string, context?: string): Promise<Kubeconfig> {
    // Loaded only where a kubeconfig is used: with all its models it costs half a second and 55 MiB of memory.
    const { KubeConfig: Reader } = await import('@kubernetes/client-node');
    try {
      return new Kubeconfig(() => {
        const config = new Reader();
        config.loadFromFile(path);
        if (context !== undefined) config.setCurrentContext(context);
        return config;
      });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new Fault('CONFIG_INVALID', `the kubeconfig ${path} cannot be used: ${why}`, { cause: error });
    }
  }

  async load(): Promise<Credentials> {
    this.#config ??= this.#open();
    const options: RequestOptions = {};
    await this.#config.applyToHTTPSOptions(options);
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(options.headers ?? {}))
      headers[name.toLowerCase()] = String(value);
    if (typeof options.auth === 'string')
      headers['authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
    return { headers, tls: tlsOf(options) };
  }

  forget(): void {
    // Tokens and what plugins gave are kept inside of it.
    this.#config = undefined;
  }
}

function tlsOf({ ca, cert, key, servername, rejectUnauthorized }: RequestOptions): TlsMaterial {
  const text = (value: unknown): string | undefined =>
    typeof value === 'string' || Buffer.isBuffer(value) ? value.toString() : undefined;
  const [caText, certText, keyText] = [text(ca), text(cert), text(key)];
  return {
    ...(caText !== undefined && { ca: caText }),
    ...(certText !== undefined && { cert: certText }),
    ...(keyText !== undefined && { key: keyText }),
    ...(servername !== undefined && { servername }),
    ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
  };
}
