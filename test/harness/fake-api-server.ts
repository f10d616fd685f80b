import { writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { Socket, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { temporaryFolder } from './temporary-volume.ts';
import { TEST_PAIRS, type KeyPair } from './test-certificates.ts';

type Test = { teardown: (work: () => unknown) => void };

/** A request as it came in. */
export interface SeenCall {
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
  /** The common name of the client's certificate, where it showed one. */
  readonly client: string | undefined;
}

/** One request that waits for whatever the test does to it. Nothing at all is silence. */
export class Exchange {
  readonly call: SeenCall;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(call: SeenCall, request: IncomingMessage, response: ServerResponse) {
    this.call = call;
    this.#request = request;
    this.#response = response;
  }

  /** The client is gone, or the answer has ended. */
  get isOver(): boolean {
    return this.#response.closed || this.#response.writableEnded;
  }

  onClose(work: () => void): void {
    this.#response.once('close', work);
  }

  json(status: number, body: unknown, headers: Record<string, string> = {}): void {
    this.#response.writeHead(status, { 'content-type': 'application/json', ...headers });
    this.#response.end(JSON.stringify(body));
  }

  /** A refusal in the API's own form. */
  refuse(code: number, reason: string, message: string, headers: Record<string, string> = {}): void {
    const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message };
    this.json(code, status, headers);
  }

  text(status: number, body: string): void {
    this.#response.writeHead(status, { 'content-type': 'text/plain' });
    this.#response.end(body);
  }

  /** Begins an answer that goes on. */
  begin(status = 200): void {
    this.#response.writeHead(status, { 'content-type': 'application/json' });
    this.#response.flushHeaders();
  }

  /** Writes a part; the promise is for writers who want to be as slow as the reader. */
  async write(part: string | Buffer): Promise<void> {
    await new Promise<void>((resolve) => this.#response.write(part, () => resolve()));
  }

  end(part = ''): void {
    this.#response.end(part);
  }

  /** Breaks the connection, in whatever state the answer is. */
  reset(): void {
    this.#request.socket.destroy();
  }
}

export type Answer = (exchange: Exchange) => void | Promise<void>;

/** An API server over real HTTPS that does what a test says: `answer` gets every request. */
export class FakeApiServer {
  readonly calls: SeenCall[] = [];
  answer: Answer = (exchange) => exchange.refuse(404, 'NotFound', 'nothing is here');
  readonly #folder: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #port = 0;
  #pair: KeyPair = TEST_PAIRS.first;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async start(t: Test): Promise<FakeApiServer> {
    const fake = new FakeApiServer(temporaryFolder(t));
    await fake.listen();
    t.teardown(() => fake.stop());
    return fake;
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  get folder(): string {
    return this.#folder;
  }

  /** Comes up, on the same port as before. */
  async listen(pair: KeyPair = this.#pair): Promise<void> {
    this.#pair = pair;
    const options = { ...pair, ca: [TEST_PAIRS.client.cert], requestCert: true, rejectUnauthorized: false };
    const server = createServer(options, (request, response) => void this.#serve(request, response));
    server.on('connection', (socket) => {
      if (!(socket instanceof Socket)) return;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Goes down as a process that is killed: every connection is reset, and new ones are refused. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    const closed = new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  /** Writes a kubeconfig for this server and returns its path; `user` and `cluster` are as in such a file. */
  kubeconfig(user: Record<string, unknown> = {}, cluster: Record<string, unknown> = {}): string {
    const path = join(this.#folder, 'kubeconfig');
    const ca = Buffer.from(TEST_PAIRS.first.cert).toString('base64');
    const file = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster: { server: this.url, 'certificate-authority-data': ca, ...cluster } }],
      users: [{ name: 'u', user }],
      contexts: [
        { name: 'main', context: { cluster: 'c', user: 'u', namespace: 'team' } },
        { name: 'other', context: { cluster: 'c', user: 'u', namespace: 'elsewhere' } },
      ],
      'current-context': 'main',
    };
    // Every JSON is YAML.
    writeFileSync(path, JSON.stringify(file));
    return path;
  }

  /** Writes the files that a kubelet mounts for a service account, and returns their folder. */
  serviceAccount(token: string, pair: KeyPair = this.#pair): string {
    writeFileSync(join(this.#folder, 'token'), token);
    writeFileSync(join(this.#folder, 'ca.crt'), pair.cert);
    writeFileSync(join(this.#folder, 'namespace'), 'team\n');
    return this.#folder;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined);
    request.on('error', () => undefined);
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    } catch {
      // The client went away before it had asked.
      return;
    }
    const url = new URL(request.url ?? '/', this.url);
    const text = Buffer.concat(chunks).toString();
    const call: SeenCall = {
      method: request.method ?? '',
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      headers: request.headers,
      body: text === '' ? undefined : JSON.parse(text),
      client: clientOf(request),
    };
    this.calls.push(call);
    await this.answer(new Exchange(call, request, response));
  }
}

function clientOf({ socket }: IncomingMessage): string | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  const { subject } = socket.getPeerCertificate() as { subject?: { CN?: string } };
  return subject?.CN;
}
