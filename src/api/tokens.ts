import { createHash, timingSafeEqual } from 'node:crypto';
import { Fault } from '../protocol/fault.ts';

/** One server and the digest of its token; the token itself is not kept. */
interface KnownServer {
  readonly name: string;
  readonly digest: Buffer;
}

export const TOKEN_LINE_RULE =
  'name:token, with a name of 1 to 40 of the characters a-z 0-9 - and a token of at least 16 characters without spaces';

const LINE = /^([a-z0-9-]{1,40}):([\x21-\x7e]{16,1024})$/;

/**
 * Reads a tokens file: a line for each server, comments behind `#` at the beginning of a line, blank lines.
 *
 * @throws {Fault} CONFIG_INVALID that names the first line which breaks TOKEN_LINE_RULE, or repeats a name or a token,
 * or says that there is none. A token is never part of the message.
 */
export function parseTokens(text: string): KnownServer[] {
  const servers: KnownServer[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const [, name, token] = LINE.exec(line) ?? [];
    if (name === undefined || token === undefined) throw refused(index, `must be ${TOKEN_LINE_RULE}`);
    const digest = digestOf(token);
    if (servers.some((other) => other.name === name)) throw refused(index, `names the server ${name} again`);
    if (servers.some((other) => other.digest.equals(digest)))
      throw refused(index, `gives ${name} the token of another server`);
    servers.push({ name, digest });
  }
  if (servers.length === 0)
    throw new Fault('CONFIG_INVALID', `the tokens file has no line ${TOKEN_LINE_RULE}`);
  return servers;
}

/** The servers that may use this agent, by their tokens. */
export class TokenStore {
  #servers: readonly KnownServer[];

  /** @throws {Fault} CONFIG_INVALID; see parseTokens. */
  constructor(text: string) {
    this.#servers = parseTokens(text);
  }

  /** Takes a new tokens file; a broken one changes nothing. @throws {Fault} CONFIG_INVALID; see parseTokens. */
  replace(text: string): void {
    this.#servers = parseTokens(text);
  }

  get names(): readonly string[] {
    return this.#servers.map(({ name }) => name);
  }

  /** Names the server that `token` belongs to; the time that it takes tells nothing about any token. */
  serverOf(token: string): string | undefined {
    const digest = digestOf(token);
    let found: string | undefined;
    for (const server of this.#servers) if (timingSafeEqual(server.digest, digest)) found = server.name;
    return found;
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function refused(index: number, rule: string): Fault {
  return new Fault('CONFIG_INVALID', `line ${index + 1} of the tokens file ${rule}`, {
    detail: { line: index + 1 },
  });
}
