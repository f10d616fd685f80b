import type { FastifyReply, FastifyRequest } from 'fastify';
import type { FailureCode } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';
import { parseTicket, TICKET_RULE, type Ticket } from '../protocol/ticket.ts';
import { invalidField } from './problem.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Whose token came with the request; '' on routes that take none. */
    serverName: string;
    /** The code that it was answered with, where that is no success. */
    failureCode: FailureCode | undefined;
  }
}

/** The ticket in the path, where it is one. */
export function ticketIn(request: FastifyRequest): Ticket | undefined {
  const { ticket } = (request.params ?? {}) as Readonly<Record<string, unknown>>;
  return typeof ticket === 'string' ? parseTicket(ticket) : undefined;
}

/** The ticket in the path. @throws {Fault} TICKET_INVALID. */
export function ticketOf(request: FastifyRequest): Ticket {
  const ticket = ticketIn(request);
  if (ticket !== undefined) return ticket;
  const { ticket: seen } = request.params as Readonly<Record<string, unknown>>;
  throw invalidField(':ticket', TICKET_RULE, seen, 'TICKET_INVALID');
}

/** Names the server of a bearer token. @throws {Fault} UNAUTHENTICATED. */
export function serverFrom(
  authorization: string | undefined,
  serverOf: (token: string) => string | undefined,
): string {
  const token = /^bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
  const server = token === undefined ? undefined : serverOf(token);
  if (server !== undefined) return server;
  const seen = token === undefined ? 'there is none' : 'the agent does not know the one that came';
  throw new Fault('UNAUTHENTICATED', `the request needs the header Authorization: Bearer TOKEN, and ${seen}`);
}

/** Aborts when the client goes away before its answer is whole, or when `stopping` does. */
export function untilGone(reply: FastifyReply, stopping: AbortSignal): AbortSignal {
  const gone = new AbortController();
  // The request's own 'close' comes when its body was read, long before the client leaves.
  reply.raw.once('close', () => gone.abort());
  return AbortSignal.any([gone.signal, stopping]);
}

const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;

/** The id that a client gave its request, where it is fit for a log line. */
export function requestIdFrom(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' && REQUEST_ID.test(header) ? header : undefined;
}
