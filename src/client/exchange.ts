import {
  request as httpRequest,
  type Agent,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import { text as readText } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import { isFailureCode } from '../protocol/failure-table.ts';
import { Fault, type FaultDetail } from '../protocol/fault.ts';

/** One call to an agent. */
export interface Call {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Readable;
  readonly signal: AbortSignal;
  readonly connections: Agent;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
}

const CONTINUE_DEADLINE_MS = 5000;

/**
 * Makes one call and returns the head of its answer; the body is still to be read.
 *
 * A streamed body is sent only after the agent said that it wants it (`Expect: 100-continue`), so that a refused
 * upload costs no body.
 *
 * @throws {Fault} AGENT_UNREACHABLE when there is no answer, with the cause; the code of the agent's problem document
 * for an answer that is no success.
 */
export async function exchange(call: Call): Promise<Reply> {
  const reply = await answerTo(call);
  if (reply.status < 400) return reply;
  throw await problemOf(call, reply);
}

/** Reads an answer whole, as JSON. */
export async function jsonOf(reply: Reply): Promise<unknown> {
  const text = await readText(reply.body);
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    const message = `the agent answered ${reply.status} with something that is not JSON: ${text.slice(0, 200)}`;
    throw new Fault('AGENT_UNREACHABLE', message, { cause: error });
  }
}

/** Reads an answer to its end and forgets it, so that its connection can be used again. */
export function drain(reply: Reply): void {
  reply.body.resume();
}

async function answerTo({ method, url, headers, body, signal, connections }: Call): Promise<Reply> {
  const streamed = body !== undefined && typeof body !== 'string';
  const make = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise<Reply>((resolve, reject) => {
    const sent = make(url, {
      method,
      agent: connections,
      signal,
      headers: { ...headers, ...(streamed && { expect: '100-continue' }) },
    });
    const fail = (error: Error): void => reject(unreachable(url, error));
    sent.on('error', fail);
    sent.on('response', (message) => {
      // Without this an error while the body is read has nobody who hears it.
      message.on('error', fail);
      resolve({ status: message.statusCode ?? 0, headers: message.headers, body: message });
    });
    if (!streamed) return void sent.end(body);
    body.on('error', (error) => sent.destroy(error));
    const send = (): void => {
      clearTimeout(impatient);
      body.pipe(sent);
    };
    // Some proxies never pass the "continue" on. Source: RFC 9110 §10.1.1, a client must not wait for ever.
    const impatient = setTimeout(send, CONTINUE_DEADLINE_MS);
    sent.once('continue', send);
    sent.once('close', () => clearTimeout(impatient));
    // A final answer instead of "continue" refuses the body: nothing of it is read.
    sent.once('response', () => {
      clearTimeout(impatient);
      body.destroy();
    });
    sent.flushHeaders();
  });
}

function unreachable(url: URL, error: Error): Fault {
  const message = `no answer from ${url.origin}: ${error.message || error.name}`;
  return new Fault('AGENT_UNREACHABLE', message, { cause: error });
}

async function problemOf(call: Call, reply: Reply): Promise<Fault> {
  const retryAfter = Number(reply.headers['retry-after']);
  const detail = { status: reply.status, ...(retryAfter > 0 && { retryAfterSeconds: retryAfter }) };
  if (call.method === 'HEAD') return headProblem(call, reply, detail);
  const problem = (await jsonOf(reply)) as Record<string, unknown> | null;
  const { code, detail: says } = problem ?? {};
  const known = typeof code === 'string' && isFailureCode(code) ? code : 'AGENT_FAILED';
  return new Fault(known, typeof says === 'string' ? says : `the agent answered ${reply.status}`, {
    detail: { ...problem, ...detail },
  });
}

/** An answer to HEAD has no body, so the agent names the code in a header as well. */
function headProblem(call: Call, reply: Reply, detail: FaultDetail): Fault {
  drain(reply);
  const code = String(reply.headers['x-longshore-code'] ?? '');
  const message = `the agent answered ${reply.status} to HEAD ${call.url.pathname}`;
  return new Fault(isFailureCode(code) ? code : 'AGENT_FAILED', message, { detail });
}
