import { createHmac } from 'node:crypto';
import { canonicalJson } from '../protocol/canonical-json.ts';
import { parseDigestName } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import {
  PACKAGE_ID_RULE,
  PACKAGE_VERSION_RULE,
  parsePackageId,
  parsePackageVersion,
} from '../protocol/package-name.ts';
import { parseRelativePath, RELATIVE_PATH_RULE } from '../protocol/relative-path.ts';
import type { Variable } from '../protocol/run-order.ts';
import type { ScriptFile, ScriptRequest } from '../protocol/script-request.ts';
import { scriptSealKey, type AgentKey } from '../protocol/seal.ts';
import type { ScriptKey } from '../protocol/ticket.ts';
import type { PlannedFile, PlannedPackage, WorkspacePlan } from '../staging/workspace.ts';

/** Turns a start body, whose schema holds, into what is to be staged. @throws {Fault} PATH_INVALID and others, naming the field. */
export function workspacePlanFor(key: ScriptKey, request: ScriptRequest): WorkspacePlan {
  return {
    key,
    // A script that was written on Windows runs: bash would take the CR for a part of each command.
    script: Buffer.from(request.body.replaceAll('\r\n', '\n')),
    files: (request.files ?? []).map(plannedFile),
    packages: (request.packages ?? []).map(plannedPackage),
  };
}

/** The variables of a request as the runner gets them. */
export function variablesOf(request: ScriptRequest): Variable[] {
  return (request.variables ?? []).map(({ name, value, sensitive }) => ({
    name,
    value,
    sensitive: sensitive ?? false,
  }));
}

/**
 * Marks a body, so that the same one can be told from another without keeping it.
 *
 * Keyed, because a plain hash on the volume would let anybody there try out short secrets.
 */
export function bodyMarkOf(agentKey: AgentKey, key: ScriptKey, request: ScriptRequest): string {
  const mac = createHmac('sha256', scriptSealKey(agentKey, key, 'variables'));
  return mac.update(canonicalJson(request)).digest('hex');
}

function plannedFile(file: ScriptFile, index: number): PlannedFile {
  const path = parseRelativePath(file.path);
  if (path === undefined) throw refused('PATH_INVALID', `files/${index}/path`, RELATIVE_PATH_RULE, file.path);
  if ('content' in file) return { path, content: Buffer.from(file.content, file.encoding ?? 'utf8') };
  const blob = parseDigestName(file.digest);
  if (blob === undefined)
    throw refused('DIGEST_INVALID', `files/${index}/digest`, 'sha256: and 64 hex digits', file.digest);
  return { path, blob };
}

function plannedPackage(named: { id: string; version: string }, index: number): PlannedPackage {
  const id = parsePackageId(named.id);
  const version = parsePackageVersion(named.version);
  if (id === undefined)
    throw refused('PACKAGE_NAME_INVALID', `packages/${index}/id`, PACKAGE_ID_RULE, named.id);
  if (version === undefined) {
    throw refused('PACKAGE_NAME_INVALID', `packages/${index}/version`, PACKAGE_VERSION_RULE, named.version);
  }
  return { id, version };
}

function refused(
  code: 'PATH_INVALID' | 'DIGEST_INVALID' | 'PACKAGE_NAME_INVALID',
  field: string,
  rule: string,
  value: string,
): Fault {
  const seen = value.slice(0, 200);
  return new Fault(code, `/${field} must be ${rule}, not ${JSON.stringify(seen)}`, {
    detail: { field: `/${field}`, rule, value: seen },
  });
}
