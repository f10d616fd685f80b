import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import type { ScriptKey } from './ticket.ts';

/** The 32 bytes that only the agent has; every key of every script is derived from it. */
export type AgentKey = Buffer;

/** `cookie` is not a secret from the script: its processes carry it in their environment. */
export type SealPurpose = 'journal' | 'variables' | 'cookie' | 'record';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Derives the 32-byte key of one script and one purpose, by HKDF-SHA256 (RFC 5869).
 *
 * The same agent key always gives the same result, so that an agent that was killed needs no stored key.
 */
export function scriptSealKey(agentKey: AgentKey, key: ScriptKey, purpose: SealPurpose): Buffer {
  return Buffer.from(hkdfSync('sha256', agentKey, key, `longshore ${purpose} v1`, 32));
}

/** Names an agent key without telling it, so that a foreign one can be recognised. */
export function agentKeyName(agentKey: AgentKey): string {
  return Buffer.from(hkdfSync('sha256', agentKey, '', 'longshore key name v1', 8)).toString('hex');
}

/** Seals `plain` by AES-256-GCM; `nonce` must never repeat under one key. Returns ciphertext and 16-byte tag. */
export function sealBytes(key: Buffer, nonce: Buffer, context: string, plain: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context));
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** Opens what sealBytes sealed; undefined unless key, nonce, context and every bit are the same. */
export function openBytes(key: Buffer, nonce: Buffer, context: string, sealed: Buffer): Buffer | undefined {
  if (sealed.length < TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES }).setAAD(
    Buffer.from(context),
  );
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plain = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES));
  try {
    return Buffer.concat([plain, decipher.final()]);
  } catch {
    // The tag does not fit: not ours, or changed. That is an answer here, not an error.
    return undefined;
  }
}

/** Seals a text under a fresh random nonce, as base64; `context` must be given again to open it. */
export function sealText(key: Buffer, context: string, text: string): string {
  const nonce = randomBytes(NONCE_BYTES);
  return Buffer.concat([nonce, sealBytes(key, nonce, context, Buffer.from(text))]).toString('base64');
}

/** Opens what sealText sealed, or returns undefined. */
export function openText(key: Buffer, context: string, sealed: string): string | undefined {
  const bytes = Buffer.from(sealed, 'base64');
  if (bytes.length < NONCE_BYTES + TAG_BYTES) return undefined;
  return openBytes(key, bytes.subarray(0, NONCE_BYTES), context, bytes.subarray(NONCE_BYTES))?.toString(
    'utf8',
  );
}

/** Puts an HMAC-SHA256 of `context` and `text` in front of the text, so that a change or another place shows. */
export function signText(key: Buffer, context: string, text: string): string {
  return `${macOf(key, context, text).toString('hex')}\n${text}`;
}

/** Returns the text of what signText wrote, and whether the HMAC is that of this key and context. */
export function openSigned(
  key: Buffer,
  context: string,
  signed: string,
): { text: string; isAuthentic: boolean } {
  const [mac = '', text = ''] = splitAtFirst(signed, '\n');
  const given = Buffer.from(mac, 'hex');
  const right = macOf(key, context, text);
  return { text, isAuthentic: given.length === right.length && timingSafeEqual(given, right) };
}

function macOf(key: Buffer, context: string, text: string): Buffer {
  return createHmac('sha256', key).update(`${context}\0`).update(text).digest();
}

function splitAtFirst(text: string, separator: string): string[] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + separator.length)];
}
