import {
  request as httpRequest,
  type Agent,
  type ClientRequest,
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
  /** How long to wait for "continue" before a body is sent without it. @default 5000 */
  readonly continueDeadlineMs?: number;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
}

const GATEWAY: ReadonlySet<number> = new Set([502, 503, 504]);

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

/** Reads an answer whole, as JSON. @throws {Fault} AGENT_UNREACHABLE where it breaks off or is something else. */
export async function jsonOf(reply: Reply): Promise<unknown> {
  let text = '';
  try {
    text = await readText(reply.body);
    return JSON.parse(text) as unknown;
  } catch (error) {
    const seen = text === '' ? 'broke off' : `is not JSON: ${text.slice(0, 200)}`;
    throw new Fault('AGENT_UNREACHABLE', `the answer ${reply.status} of the agent ${seen}`, { cause: error });
  }
}

/** Reads an answer to its end and forgets it, so that its connection can be used again. */
export function drain(reply: Reply): void {
  reply.body.resume();
}

async function answerTo(call: Call): Promise<Reply> {
  const { method, url, headers, body, signal, connections, continueDeadlineMs = 5000 } = call;
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
    body.on('error', (error) => {
      reject(unreadable(error));
      sent.destroy();
    });
    sendWhenAsked(sent, body, continueDeadlineMs);
  });
}

/** Sends a body when the agent asks for it, and nothing of it where an answer comes instead. */
function sendWhenAsked(sent: ClientRequest, body: Readable, deadlineMs: number): void {
  let decided = false;
  const decide = (what: () => void): void => {
    clearTimeout(impatient);
    if (!decided) what();
    decided = true;
  };
  const send = (): void => decide(() => body.pipe(sent));
  // Some proxies never pass the "continue" on. Source: RFC 9110 §10.1.1, a client must not wait for ever.
  const impatient = setTimeout(send, deadlineMs);
  sent.once('continue', send);
  sent.once('response', (message) => {
    // An answer ends the matter, also one that comes while the body is on its way; nobody can use this connection again.
    decide(() => undefined);
    body.destroy();
    message.once('close', () => {
      if (!sent.writableEnded) sent.destroy();
    });
  });
  sent.once('close', () => {
    decide(() => undefined);
    body.destroy();
  });
  sent.flushHeaders();
}

function unreadable(error: Error): Fault {
  return new Fault('REQUEST_INVALID', `cannot read what is to be sent: ${error.message}`, { cause: error });
}

function unreachable(url: URL, error: Error): Fault {
  // An abort says why one level below: the time was over, or the caller wanted no more.
  const { message: why, name } = error.cause instanceof Error ? error.cause : error;
  const message = `no answer from ${url.origin}: ${why || name}`;
  return new Fault('AGENT_UNREACHABLE', message, { cause: error });
}

async function problemOf(call: Call, reply: Reply): Promise<Fault> {
  const retryAfter = Number(reply.headers['retry-after']);
  const detail = { status: reply.status, ...(retryAfter > 0 && { retryAfterSeconds: retryAfter }) };
  if (call.method === 'HEAD') return headProblem(call, reply, detail);
  const problem = (await jsonOf(reply)) as Record<string, unknown> | null;
  const { code, detail: says } = problem ?? {};
  // Without a code of ours it is somebody in between who answers, and gateways do that when nobody is behind them.
  const unknown = GATEWAY.has(reply.status) ? 'AGENT_UNREACHABLE' : 'AGENT_FAILED';
  const known = typeof code === 'string' && isFailureCode(code) ? code : unknown;
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
