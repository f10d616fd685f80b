import type { IncomingHttpHeaders } from 'node:http';
import { parseReprDigest, type Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import { extensionOf } from '../protocol/package-name.ts';
import { invalidField } from './problem.ts';

/** What the head of an upload says about its body. */
export interface UploadHead {
  readonly digest: Sha256 | undefined;
  readonly length: number | undefined;
  /** `If-None-Match: *`: create only. */
  readonly ifNoneMatch: boolean;
}

/**
 * Reads the head of an upload.
 *
 * @throws {Fault} DIGEST_INVALID; MEDIA_TYPE_UNSUPPORTED for an encoded body, which would be stored encoded;
 * REQUEST_INVALID for a part of a body (RFC 9110 §14.5) and for conditions that are not honoured.
 */
export function uploadHeadFrom(headers: IncomingHttpHeaders): UploadHead {
  const { 'content-encoding': encoding, 'content-range': range, 'if-none-match': condition } = headers;
  if (encoding !== undefined && encoding !== 'identity') {
    const message = `the header Content-Encoding must be left out or identity, not ${JSON.stringify(encoding)}`;
    throw new Fault('MEDIA_TYPE_UNSUPPORTED', message);
  }
  if (range !== undefined) throw invalidField('header content-range', 'left out: bodies come whole', range);
  if (condition !== undefined && condition.trim() !== '*')
    throw invalidField('header if-none-match', '*', condition);
  const length = headers['content-length'];
  return {
    digest: digestIn(headers, 'repr-digest') ?? digestIn(headers, 'content-digest'),
    length: length === undefined ? undefined : Number(length),
    ifNoneMatch: condition !== undefined,
  };
}

function digestIn(headers: IncomingHttpHeaders, name: 'repr-digest' | 'content-digest'): Sha256 | undefined {
  const field = headers[name];
  if (field === undefined) return undefined;
  const digest = parseReprDigest(String(field));
  if (digest === 'invalid') {
    throw invalidField(`header ${name}`, 'sha-256=:<base64 of 32 bytes>:', field, 'DIGEST_INVALID');
  }
  return digest === 'absent' ? undefined : digest;
}

export const FILE_NAME_RULE = '1 to 255 bytes without control characters, / and \\, and not . or ..';

/**
 * The extension of an uploaded file, from `?filename=` or else from Content-Disposition; '' without a name.
 *
 * @throws {Fault} PACKAGE_NAME_INVALID for a name that is none.
 */
export function extensionFrom(query: string | undefined, disposition: string | undefined): string {
  const name = query ?? fileNameIn(disposition ?? '');
  if (name === undefined) return '';
  const plain = !/[\u0000-\u001f\u007f-\u009f/\\]/.test(name) && !/^\.{0,2}$/.test(name);
  if (!plain || Buffer.byteLength(name) > 255) {
    const field = query === undefined ? 'header content-disposition' : '?filename';
    throw invalidField(field, `a file name of ${FILE_NAME_RULE}`, name, 'PACKAGE_NAME_INVALID');
  }
  return extensionOf(name);
}

/** The `filename*` of RFC 8187, or else the `filename`, of a Content-Disposition (RFC 6266). */
function fileNameIn(disposition: string): string | undefined {
  const extended = /;\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]+)/i.exec(disposition)?.[1];
  if (extended !== undefined) return decoded(extended);
  const [, quoted, bare] = /;\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]+))/i.exec(disposition) ?? [];
  return quoted?.replace(/\\(.)/g, '$1') ?? bare;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    const rule = "filename*=UTF-8''<percent-encoded name>";
    throw Object.assign(invalidField('header content-disposition', rule, text, 'PACKAGE_NAME_INVALID'), {
      cause: error,
    });
  }
}
