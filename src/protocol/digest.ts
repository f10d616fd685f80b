import { hash } from 'node:crypto';

declare const brand: unique symbol;

/** A SHA-256 as 64 lower-case hex digits. */
export type Sha256 = string & { readonly [brand]: true };

const HEX = /^[0-9a-f]{64}$/;
const BASE64_OF_32_BYTES = /^[A-Za-z0-9+/]{43}=$/;

/** Returns `text` as a digest, or undefined unless it is 64 lower-case hex digits. */
export function parseSha256(text: string): Sha256 | undefined {
  return HEX.test(text) ? (text as Sha256) : undefined;
}

/** Reads `sha256:<hex>`, the form of the start body; undefined for anything else. */
export function parseDigestName(text: string): Sha256 | undefined {
  return text.startsWith('sha256:') ? parseSha256(text.slice(7)) : undefined;
}

/**
 * Reads the sha-256 member of a Repr-Digest or Content-Digest field.
 *
 * Other algorithms are passed over, as RFC 9530 §2 says; `absent` where there is no sha-256 member, `invalid` where
 * there is one that is not a byte sequence of 32 bytes.
 */
export function parseReprDigest(field: string): Sha256 | 'absent' | 'invalid' {
  for (const member of field.split(',')) {
    const [name, value] = splitOnce(member.trim(), '=');
    if (name.toLowerCase() !== 'sha-256') continue;
    const base64 = /^:([^:]*):$/.exec(value.split(';')[0]?.trim() ?? '')?.[1] ?? '';
    if (!BASE64_OF_32_BYTES.test(base64)) return 'invalid';
    return Buffer.from(base64, 'base64').toString('hex') as Sha256;
  }
  return 'absent';
}

/** Writes a digest as the value of Repr-Digest. */
export function reprDigestFor(digest: Sha256): string {
  return `sha-256=:${Buffer.from(digest, 'hex').toString('base64')}:`;
}

/** Returns the digest of `bytes`. */
export function sha256Of(bytes: Uint8Array | string): Sha256 {
  return hash('sha256', bytes, 'hex') as Sha256;
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)];
}
