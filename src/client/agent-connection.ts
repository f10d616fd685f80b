import { Fault } from '../protocol/fault.ts';
import { LongshoreClient } from './client.ts';
import { localText } from './local-file.ts';
import { say, type Terminal } from './terminal.ts';

/** Which agent a command is for, as its options say it. */
export interface Connection {
  readonly url: string;
  readonly token?: string;
  readonly tokenFile?: string;
}

/** A person at a terminal wants to know soon that no agent is there; a script that runs is waited for longer. */
const PERSON_WAITS_MS = 5000;

/**
 * Makes a client for a command; calls nobody yet. `usualFile` holds the tokens of the agent of this machine.
 *
 * @throws {Fault} REQUEST_INVALID for an address that is none, and where no token is found.
 */
export async function connect(
  connection: Connection,
  terminal: Terminal,
  usualFile: string,
): Promise<LongshoreClient> {
  const { url } = connection;
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? '')) {
    throw new Fault(
      'REQUEST_INVALID',
      `--url must be http://HOST:PORT or https://HOST:PORT, not ${JSON.stringify(url)}`,
    );
  }
  let isAway = false;
  const retried = ({ message }: Fault): void => {
    if (!isAway) say(terminal, `${message}; trying again for a while`);
    isAway = true;
  };
  const token = await tokenOf(connection, usualFile);
  return new LongshoreClient({ url, token, retryForMs: PERSON_WAITS_MS, retried });
}

/** The token that was given, or the first one of a tokens file. */
async function tokenOf({ token, tokenFile }: Connection, usualFile: string): Promise<string> {
  if (token !== undefined) return token;
  const file = tokenFile ?? usualFile;
  const text = await localText(file).catch((error: unknown) => {
    const rule = 'give --token-file FILE or set LONGSHORE_TOKEN';
    throw new Fault('REQUEST_INVALID', `there is no token for the agent in ${file}: ${rule}`, {
      cause: error,
    });
  });
  const lines = text.split('\n').map((line) => line.trim());
  const first = lines.find((line) => line !== '' && !line.startsWith('#'));
  if (first === undefined) throw new Fault('REQUEST_INVALID', `there is no token in ${file}`);
  return first.slice(first.indexOf(':') + 1);
}
