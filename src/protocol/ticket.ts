import { createHash } from 'node:crypto';

declare const ticketBrand: unique symbol;
declare const keyBrand: unique symbol;

/** The id that a server chose for one script; whoever holds one holds a valid one. */
export type Ticket = string & { readonly [ticketBrand]: true };

/** What names a script on the volume and in the cluster: a function of server and ticket that cannot collide. */
export type ScriptKey = string & { readonly [keyBrand]: true };

export const TICKET_RULE =
  '1 to 128 of the characters A-Z a-z 0-9 . _ - and the first one a letter or a digit';

const TICKET = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const KEY = /^[a-z0-9][a-z0-9-]{0,19}-[0-9a-f]{24}$/;

/** Returns `text` as a ticket, or undefined where it breaks TICKET_RULE. */
export function parseTicket(text: string): Ticket | undefined {
  return TICKET.test(text) ? (text as Ticket) : undefined;
}

/**
 * Names the script of `ticket` that the server `server` (the name of its token) asked for.
 *
 * At most 45 characters of a-z 0-9 -, so that it is a folder on any file system and, behind a prefix, a pod name.
 * Two servers with one ticket, and tickets that differ only in case, get different keys: 96 bits of SHA-256.
 */
export function scriptKeyFor(server: string, ticket: Ticket): ScriptKey {
  const readable = ticket
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 20);
  const digest = createHash('sha256').update(`${server}\0${ticket}`).digest('hex').slice(0, 24);
  return `${readable}-${digest}` as ScriptKey;
}

/** Returns `text` as a script key, or undefined: folders that others made on the volume are not scripts. */
export function parseScriptKey(text: string): ScriptKey | undefined {
  return KEY.test(text) ? (text as ScriptKey) : undefined;
}
