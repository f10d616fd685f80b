import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

/** After an answer that did not want the whole body: how much of the rest is still read, and for how long. */
const LINGER_BYTES = 16 * 1024 * 1024;
const LINGER_MS = 2000;

/**
 * How bodies are asked for and turned down.
 *
 * A client that sends `Expect: 100-continue` waits before it sends its body. It is told to go on only when nothing
 * stands against the body any more, so that a refused upload costs no bytes (RFC 9110 §10.1.1). A client that sends
 * its body unasked may still be sending when the answer comes: a connection that is closed at once could swallow the
 * answer (RFC 9112 §9.6), so the rest is read and forgotten, up to a bound.
 */
export class BodyManners {
  readonly #waiting = new WeakSet<IncomingMessage>();

  /** Takes the place of Node's own answer to `Expect: 100-continue`, which would be "go on" in every case. */
  attach(app: FastifyInstance): void {
    app.server.on('checkContinue', (request, response) => {
      this.#waiting.add(request);
      app.server.emit('request', request, response);
    });
    app.addHook('onSend', async (request, reply) => {
      // The client may send its body all the same or never: nobody can tell where the next request begins.
      if (this.#waiting.has(request.raw)) reply.header('connection', 'close');
    });
    app.addHook('onResponse', async (request) => this.#linger(request.raw));
  }

  /** Tells a client that waits for it to send its body; for another one nothing happens. */
  askFor(request: FastifyRequest, reply: FastifyReply): void {
    if (this.#waiting.delete(request.raw)) reply.raw.writeContinue();
  }

  #linger(request: IncomingMessage): void {
    if (request.complete || request.destroyed || this.#waiting.has(request)) return;
    let bytes = 0;
    const timer = setTimeout(() => request.destroy(), LINGER_MS).unref();
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > LINGER_BYTES) request.destroy();
    });
    request.once('close', () => clearTimeout(timer));
    request.resume();
  }
}
