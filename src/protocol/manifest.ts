import { canonicalJson } from './canonical-json.ts';
import { parseSha256, sha256Of, type Sha256 } from './digest.ts';
import { foldedPath, parseRelativePath, type RelativePath } from './relative-path.ts';
import { parseScriptKey, type ScriptKey } from './ticket.ts';

/** One staged file: where it lies below the workspace, how long it is, what it hashes to. */
export interface ManifestEntry {
  readonly path: RelativePath;
  readonly size: number;
  readonly sha256: Sha256;
}

/** Everything that was staged for one script, in the order of its paths. */
export interface Manifest {
  readonly version: 1;
  readonly key: ScriptKey;
  readonly entries: readonly ManifestEntry[];
}

/** Writes a manifest as the bytes that lie on the volume; equal manifests give equal bytes. */
export function serializeManifest(manifest: Manifest): Buffer {
  const entries = manifest.entries
    .toSorted((left, right) => (left.path < right.path ? -1 : 1))
    .map(entryJson);
  return Buffer.from(`{"entries":[${entries.join(',')}],"key":${canonicalJson(manifest.key)},"version":1}\n`);
}

/** What canonicalJson gives, ten times as fast: a workspace may have tens of thousands of files. */
function entryJson({ path, size, sha256 }: ManifestEntry): string {
  return `{"path":${JSON.stringify(path)},"sha256":"${sha256}","size":${size}}`;
}

/** The digest of a manifest, which travels sealed to the runner and not over the volume. */
export function manifestDigestOf(manifest: Manifest): Sha256 {
  return sha256Of(serializeManifest(manifest));
}

/** Reads the bytes of a manifest; undefined unless every entry is well formed and no two name one file. */
export function parseManifest(bytes: Uint8Array): Manifest | undefined {
  const value = parseObject(bytes);
  if (value?.['version'] !== 1 || typeof value['key'] !== 'string' || !Array.isArray(value['entries']))
    return undefined;
  const key = parseScriptKey(value['key']);
  const entries = value['entries'].map(parseEntry);
  if (key === undefined || !entries.every((entry) => entry !== undefined)) return undefined;
  const names = new Set(entries.map((entry) => foldedPath(entry.path)));
  return names.size === entries.length ? { version: 1, key, entries } : undefined;
}

function parseEntry(value: unknown): ManifestEntry | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { path, size, sha256 } = value as Record<string, unknown>;
  if (typeof path !== 'string' || typeof sha256 !== 'string') return undefined;
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined;
  const relative = parseRelativePath(path);
  const digest = parseSha256(sha256);
  return relative && digest ? { path: relative, size, sha256: digest } : undefined;
}

function parseObject(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    // Not JSON is one of the ways of not being a manifest; the caller has the bytes and says so.
    return undefined;
  }
}
