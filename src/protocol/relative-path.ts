declare const brand: unique symbol;

/** A path below a folder that cannot leave it: segments joined by `/`, none of them empty, `.` or `..`. */
export type RelativePath = string & { readonly [brand]: true };

export const RELATIVE_PATH_RULE =
  'a relative path of at most 1024 bytes and 32 segments of at most 255 bytes, without empty, "." or ".." segments, backslashes or control characters';

const MAX_BYTES = 1024;
const MAX_SEGMENTS = 32;
const MAX_SEGMENT_BYTES = 255;
// Also C1 controls and the line separators: a path is shown in journals and logs, one line each.
const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\\]|[\ud800-\udfff]/u;

const ASCII = /^[ -~]*$/;
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/gu;

/**
 * Returns `text` as a path that stays inside its folder, or undefined where it breaks RELATIVE_PATH_RULE.
 *
 * The check is on the text alone. That no segment is a symbolic link holds because every folder that such a path is
 * joined to was made by the agent in the same breath (`work/.staging-…`), and nobody else writes there.
 */
export function parseRelativePath(text: string): RelativePath | undefined {
  if (text.length === 0 || byteLength(text) > MAX_BYTES || FORBIDDEN.test(text)) return undefined;
  const segments = text.split('/');
  if (segments.length > MAX_SEGMENTS) return undefined;
  return segments.every(isPlainSegment) ? (text as RelativePath) : undefined;
}

/**
 * Names two paths alike when a file system that ignores case or Unicode form would take them for one.
 *
 * As strict as the strictest that we know: full case folding and no invisible characters, which is what ext4 does in a
 * folder that ignores case. Source: Documentation/filesystems/ext4/ "Case-insensitive file name lookups"; UAX 15.
 */
export function foldedPath(path: RelativePath): string {
  if (ASCII.test(path)) return path.toLowerCase();
  // Upper case first: only that makes one of the two forms of a small sigma, and SS of a sharp s.
  return path.normalize('NFD').replace(INVISIBLE, '').toUpperCase().toLowerCase().normalize('NFD');
}

function isPlainSegment(segment: string): boolean {
  return segment !== '' && segment !== '.' && segment !== '..' && byteLength(segment) <= MAX_SEGMENT_BYTES;
}

function byteLength(text: string): number {
  return Buffer.byteLength(text);
}
