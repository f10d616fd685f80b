import { randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import type { Config } from '../config.ts';
import { Fault } from '../protocol/fault.ts';
import type { AgentKey } from '../protocol/seal.ts';

/** What an agent needs of its state folder, which lies on the local disk and not on the volume. */
export interface AgentState {
  readonly agentKey: AgentKey;
  /** The text of the tokens file. */
  readonly tokens: string;
  /** The tokens file was missing and was made, with one random token. */
  readonly madeTokens: boolean;
}

type Places = Pick<Config, 'state' | 'key' | 'tokens'>;

const KEY_BYTES = 32;
const TOKEN_BYTES = 24;

/**
 * Opens the key and the tokens, and makes those that are missing, whole and for this user alone.
 *
 * Agents that start at once on one state folder get the same ones.
 *
 * @throws {Fault} CONFIG_INVALID for a file that cannot be read or made, and for a key that is none.
 */
export async function openState({ state, key, tokens }: Places): Promise<AgentState> {
  await attempt(`make the state folder ${state}`, () => fs.mkdir(state, { recursive: true, mode: 0o700 }));
  await madeWhereMissing(key, () => `${randomBytes(KEY_BYTES).toString('base64')}\n`);
  const madeTokens = await madeWhereMissing(
    tokens,
    () => `default:${randomBytes(TOKEN_BYTES).toString('base64url')}\n`,
  );
  return { agentKey: await keyIn(key), tokens: await textOf(tokens), madeTokens };
}

async function keyIn(file: string): Promise<AgentKey> {
  const text = (await textOf(file)).trim();
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length === KEY_BYTES && bytes.toString('base64') === text) return bytes;
  throw new Fault(
    'CONFIG_INVALID',
    `the key file ${file} must hold ${KEY_BYTES} bytes as base64, and holds something else`,
  );
}

/** Reads a file of the state folder anew. @throws {Fault} CONFIG_INVALID when it cannot be read. */
export async function textOf(file: string): Promise<string> {
  return attempt(`read ${file}`, () => fs.readFile(file, 'utf8'));
}

/** A link gives the name to a whole file or to nobody: whoever starts at the same time never reads half of one. */
async function madeWhereMissing(file: string, text: () => string): Promise<boolean> {
  return attempt(`make ${file}`, async () => {
    if (await isThere(file)) return false;
    const temporary = `${file}.${randomBytes(8).toString('hex')}`;
    await fs.writeFile(temporary, text(), { mode: 0o600, flag: 'wx', flush: true });
    try {
      await fs.link(temporary, file);
      return true;
    } catch (error) {
      if (isCode(error, 'EEXIST')) return false;
      throw error;
    } finally {
      await fs.unlink(temporary);
    }
  });
}

async function isThere(file: string): Promise<boolean> {
  try {
    await fs.access(file, fs.constants.F_OK);
    return true;
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false;
    throw error;
  }
}

async function attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Fault('CONFIG_INVALID', `cannot ${what}: ${why}`, { cause: error });
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
