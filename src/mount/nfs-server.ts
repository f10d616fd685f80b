import { randomInt } from 'node:crypto';
import { connect, isIP, type Socket } from 'node:net';
import type { ServerAnswer, ServerFailure } from '../protocol/mount-evidence.ts';
import { exchangeIdCall, parseExchangeIdReply } from './exchange-id.ts';
import { rpcRecord, RpcRecordReader } from './rpc-record.ts';
import { XdrError } from './xdr.ts';

const NFS_PORT = 2049;
/** Ten times what a server sends; its names are at most 1024 bytes each. */
const MAX_REPLY_BYTES = 32_768;

const FAILURES: Readonly<Record<string, ServerFailure>> = {
  ECONNREFUSED: 'refused',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EHOSTDOWN: 'unreachable',
  ENETDOWN: 'unreachable',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  ETIMEDOUT: 'timeout',
};

/** Whom to ask and how long to wait. */
export interface ServerQuestion {
  /** An IP address, as a mount has it: a name would be looked up on the thread pool, where a hung mount may block it. */
  readonly address: string;
  /** @default 2049 */
  readonly port?: number;
  /** Names the asker to the server; unique among those who ask it, since equal ones replace each other's records. */
  readonly owner: string;
  /** For everything together, the connection too. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

/**
 * Asks the NFS server for its boot id over a TCP connection of its own, without touching any file system.
 *
 * Whatever the server or the network does is an answer; the connection is gone when it is there. A connection alone
 * proves nothing: a server that was killed has accepted for 40 s without a word.
 *
 * @throws {RangeError} where the address is none; rejects with the reason of the signal when that is aborted.
 */
export async function askServer(question: ServerQuestion): Promise<ServerAnswer> {
  const { address, port = NFS_PORT, deadlineMs, signal } = question;
  if (isIP(address) === 0) throw new RangeError(`${address} is no IP address`);
  signal?.throwIfAborted();
  const socket = connect({ host: address, port });
  const { promise, resolve, reject } = Promise.withResolvers<ServerAnswer>();
  const abort = (): void => reject(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  const timer = setTimeout(() => resolve({ is: 'timeout', says: silence(socket, deadlineMs) }), deadlineMs);
  converse(socket, question.owner, resolve);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    socket.destroy();
  }
}

function converse(socket: Socket, owner: string, answer: (answer: ServerAnswer) => void): void {
  const xid = randomInt(2 ** 32);
  const record = new RpcRecordReader(MAX_REPLY_BYTES);
  socket.on('error', (error) => answer(failureOf(error)));
  socket.on('close', () => answer({ is: 'closed', says: `it hung up after ${record.received} bytes` }));
  socket.on('data', (chunk: Buffer) => {
    try {
      const message = record.push(chunk);
      if (message !== undefined) answer(parseExchangeIdReply(message, xid));
    } catch (error) {
      if (!(error instanceof XdrError)) throw error;
      answer({ is: 'garbled', says: error.message });
    }
  });
  socket.write(rpcRecord(exchangeIdCall(xid, owner)));
}

function failureOf(error: NodeJS.ErrnoException): ServerAnswer {
  return { is: FAILURES[error.code ?? ''] ?? 'network-error', says: error.message };
}

function silence(socket: Socket, deadlineMs: number): string {
  const how = socket.connecting
    ? 'it did not take the connection'
    : 'it took the connection and said nothing whole';
  return `${how} within ${deadlineMs} ms`;
}
