import { environmentNameFor } from '../protocol/environment-name.ts';
import type { ScriptFile, ScriptRequest } from '../protocol/script-request.ts';
import { invalidField } from './problem.ts';
import { START_LIMITS, type StartBody } from './start-body.ts';

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const RESERVED = /^LONGSHORE_/;

/**
 * Turns a start body whose schema holds into a request, when the rules hold too that a schema cannot say.
 *
 * @throws {Fault} REQUEST_INVALID that names field, rule and value; values of variables are never shown.
 */
export function scriptRequestFrom(body: StartBody): ScriptRequest {
  assertText('/body', body.body);
  assertArguments(body.arguments ?? []);
  assertVariables(body.variables ?? []);
  const { files, ...others } = body;
  if (files === undefined) return others;
  const request = { ...others, files: files.map(fileFrom) };
  assertInline(request.files);
  return request;
}

function assertArguments(words: readonly string[]): void {
  let total = 0;
  for (const [index, word] of words.entries()) {
    const field = `/arguments/${index}`;
    assertText(field, word);
    total += assertSize(field, word, START_LIMITS.argumentBytes);
  }
  const most = START_LIMITS.argumentsBytes;
  if (total > most) throw invalidField('/arguments', `at most ${most} bytes together`, total);
}

type Variables = NonNullable<StartBody['variables']>;

function assertVariables(variables: Variables): void {
  const names = new Map<string, string>();
  let total = 0;
  for (const [index, { name, value }] of variables.entries()) {
    const field = `/variables/${index}`;
    assertText(`${field}/name`, name);
    assertText(`${field}/value`, value, { hidden: true });
    total += assertSize(`${field}/value`, value, START_LIMITS.variableBytes);
    const environmentName = environmentNameFor(name);
    if (RESERVED.test(environmentName)) {
      throw invalidField(`${field}/name`, 'a name outside LONGSHORE_*, which the agent sets itself', name);
    }
    const other = names.get(environmentName);
    if (other !== undefined) {
      const rule = `a name that no other variable has in the environment, where ${JSON.stringify(other)} is ${environmentName} too`;
      throw invalidField(`${field}/name`, rule, name);
    }
    names.set(environmentName, name);
  }
  const most = START_LIMITS.variablesBytes;
  if (total > most) throw invalidField('/variables', `at most ${most} bytes together`, total);
}

function fileFrom(file: NonNullable<StartBody['files']>[number], index: number): ScriptFile {
  const { path, content, encoding, digest } = file;
  const field = `/files/${index}`;
  if ((content === undefined) === (digest === undefined)) {
    throw invalidField(field, 'a path with either content or digest', { path });
  }
  if (digest !== undefined) {
    if (encoding !== undefined) throw invalidField(`${field}/encoding`, 'left out beside a digest', encoding);
    return { path, digest };
  }
  const text = content ?? '';
  if (encoding === 'base64' && !BASE64.test(text))
    throw invalidField(`${field}/content`, 'base64 of RFC 4648 §4', text);
  if (encoding !== 'base64' && !text.isWellFormed())
    throw invalidField(`${field}/content`, 'text without lone surrogates');
  return { path, content: text, ...(encoding !== undefined && { encoding }) };
}

function assertInline(files: readonly ScriptFile[]): void {
  const sizes = files.map((file) =>
    'content' in file ? Buffer.byteLength(file.content, file.encoding ?? 'utf8') : 0,
  );
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const rule = `at most ${START_LIMITS.inlineBytes} bytes of content together; push larger files as blobs`;
  if (total > START_LIMITS.inlineBytes) throw invalidField('/files', rule, total);
}

/** A NUL cannot be passed to a process, and a lone surrogate has no bytes: neither may change on its way silently. */
function assertText(field: string, text: string, { hidden = false } = {}): void {
  if (!text.includes('\0') && text.isWellFormed()) return;
  throw invalidField(field, 'text without NUL and lone surrogates', hidden ? undefined : text);
}

function assertSize(field: string, text: string, most: number): number {
  const size = Buffer.byteLength(text);
  if (size > most) throw invalidField(field, `at most ${most} bytes`, size);
  return size;
}
