import { Buffer } from 'node:buffer';
import type { ServerAnswer } from '../protocol/mount-evidence.ts';
import { XdrError, XdrReader, xdrOpaque, xdrWords } from './xdr.ts';

const RPC = { version: 2, call: 0, reply: 1, authNone: 0 } as const;
const NFS = { program: 100_003, version: 4, minorVersion: 1, compound: 1, exchangeId: 42 } as const;
const SP4_NONE = 0;
const MINOR_VERSION_MISMATCH = 10_021;
/** The limits of RFC 5531 for a verifier and of RFC 8881 for the names of a server; a tag comes back as it was sent. */
const MAX_VERIFIER_BYTES = 400;
const MAX_TAG_BYTES = 1024;
/** One client for ever: the same owner and verifier replace their own record on the server and add none. */
const CLIENT_VERIFIER = [0x4c53_0001, 0];

/** What `accept_stat` other than success means: PROG_UNAVAIL, PROG_MISMATCH and PROC_UNAVAIL come from other versions. */
const UNSUPPORTED_ACCEPTS: ReadonlySet<number> = new Set([1, 2, 3]);

/**
 * Writes the RPC that asks an NFSv4.1 server who it is: a COMPOUND of one EXCHANGE_ID, with AUTH_NONE.
 *
 * It needs no session, no export and no privileged port. `owner` names the client, unique among those who ask.
 * Source: RFC 5531 section 9, RFC 8881 sections 16.2 and 18.35.
 */
export function exchangeIdCall(xid: number, owner: string): Buffer {
  const credential = xdrWords(RPC.authNone, 0);
  return Buffer.concat([
    xdrWords(xid, RPC.call, RPC.version, NFS.program, NFS.version, NFS.compound),
    credential,
    credential,
    xdrOpaque(Buffer.alloc(0)),
    xdrWords(NFS.minorVersion, 1, NFS.exchangeId, ...CLIENT_VERIFIER),
    xdrOpaque(Buffer.from(owner)),
    xdrWords(0, SP4_NONE, 0),
  ]);
}

/**
 * Reads the reply: the boot id, or why there is none. Never throws for what the bytes are.
 *
 * The boot id is the first half of the client id that the server gives: kernel nfsd and nfs-ganesha take it from the
 * time of their start. For others it is a number of which only a change may say something.
 */
export function parseExchangeIdReply(message: Uint8Array, xid: number): ServerAnswer {
  try {
    const reader = new XdrReader(message);
    return rpcRefusal(reader, xid) ?? compoundRefusal(reader) ?? bootId(reader);
  } catch (error) {
    if (error instanceof XdrError) return { is: 'garbled', says: `its reply is cut: ${error.message}` };
    throw error;
  }
}

function rpcRefusal(reader: XdrReader, xid: number): ServerAnswer | undefined {
  if (reader.word() !== xid) return { is: 'garbled', says: 'it replied to a call that nobody made' };
  if (reader.word() !== RPC.reply) return { is: 'garbled', says: 'its reply is no reply' };
  const status = reader.word();
  if (status === 1) return { is: 'denied', says: `it denied the call, with reason ${reader.word()}` };
  if (status !== 0) return { is: 'garbled', says: `its reply has the unknown status ${status}` };
  reader.word();
  reader.opaque(MAX_VERIFIER_BYTES);
  const accepted = reader.word();
  if (accepted === 0) return undefined;
  const is = UNSUPPORTED_ACCEPTS.has(accepted) ? 'unsupported' : 'denied';
  return { is, says: `it did not take the call, with accept status ${accepted}` };
}

function compoundRefusal(reader: XdrReader): ServerAnswer | undefined {
  const status = reader.word();
  reader.opaque(MAX_TAG_BYTES);
  const count = reader.word();
  if (status === MINOR_VERSION_MISMATCH) return { is: 'unsupported', says: 'it has no NFS version 4.1' };
  if (status !== 0) return { is: 'denied', says: `it answered with the NFS error ${status}` };
  if (count !== 1 || reader.word() !== NFS.exchangeId || reader.word() !== 0) {
    return { is: 'garbled', says: 'its reply answers another operation' };
  }
  return undefined;
}

function bootId(reader: XdrReader): ServerAnswer {
  const id = reader.word().toString(16).padStart(8, '0');
  // The other half of the client id, its sequence number and flags: read so that a reply that is cut is no answer.
  reader.word();
  reader.word();
  reader.word();
  return { is: 'boot-id', bootId: id };
}
