import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Renders what is scraped, in a format that the header Accept asks for. */
export type Render = (accept: string | undefined) => Promise<{ type: string; text: string }>;

/** Serves `GET /metrics` on a port of its own, which needs no token and never touches the volume. */
export class MetricsServer {
  readonly #server: Server;

  constructor(render: Render) {
    this.#server = createServer((request, response) => {
      if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') {
        response.writeHead(404).end('only GET /metrics is here\n');
        return;
      }
      render(request.headers.accept).then(
        ({ type, text }) => response.writeHead(200, { 'content-type': type }).end(text),
        (error: unknown) =>
          response.writeHead(500).end(`${error instanceof Error ? error.message : String(error)}\n`),
      );
    });
  }

  /** Listens, and returns HOST:PORT. */
  async listen({ host, port }: { host: string; port: number }): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, resolve);
    });
    const { port: given } = this.#server.address() as AddressInfo;
    return `${host.includes(':') ? `[${host}]` : host}:${given}`;
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}
