import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import type { Fault } from '../protocol/fault.ts';
import { invalidField } from './problem.ts';

/** Values that are never shown again: a variable may be a secret. */
const UNSHOWN = /^\/variables\/\d+\/value$/;

/** Where a value comes from, as fastify names it, and how a message names it. */
const PLACES: Readonly<Record<string, string>> = { querystring: '?', params: ':', headers: 'header ' };

/**
 * Compiles a check of one part of a request, for fastify: the value, or a Fault that names field, rule and value.
 *
 * Nothing is coerced, removed or filled in: what the client sent is what is checked and what is used.
 */
export function compileCheck({ schema, httpPart }: { schema: TSchema; httpPart?: string }) {
  const check = Compile(schema);
  const place = PLACES[httpPart ?? ''] ?? '';
  return (value: unknown): { value: unknown } | { error: Fault } => {
    if (check.Check(value)) return { value };
    return { error: faultFor(schema, value, check.Errors(value)[0], place) };
  };
}

const PHRASES: Readonly<Record<string, string>> = {
  minimum: 'at least N',
  maximum: 'at most N',
  minLength: 'at least N characters long',
  maxLength: 'at most N characters long',
  minItems: 'a list of at least N',
  maxItems: 'a list of at most N',
  maxProperties: 'an object of at most N members',
};

interface SchemaError {
  readonly keyword: string;
  readonly schemaPath: string;
  readonly instancePath: string;
  readonly params: object;
  readonly message: string;
}

function faultFor(schema: TSchema, value: unknown, error: SchemaError | undefined, place: string): Fault {
  if (error === undefined) return invalidField('the request', 'as its schema says');
  const { keyword, instancePath, message } = error;
  const params = error.params as Readonly<Record<string, unknown>>;
  if (keyword === 'required') {
    const missing = Array.isArray(params['requiredProperties'])
      ? String(params['requiredProperties'][0])
      : '';
    return invalidField(fieldFor(`${instancePath}/${missing}`, place), 'there');
  }
  const field = fieldFor(instancePath, place);
  // A member that the schema has no place for fails the schema `false`.
  if (keyword === 'boolean') return invalidField(field, 'left out: there is no such member');
  const said = at(schema, error.schemaPath.slice(1))['x-rule'];
  const rule = typeof said === 'string' ? said : ruleFor(keyword, params, message);
  return invalidField(field, rule, UNSHOWN.test(instancePath) ? undefined : at(value, instancePath));
}

function fieldFor(pointer: string, place: string): string {
  if (place === '') return pointer === '' ? 'the body' : pointer;
  return `${place}${pointer.slice(1)}`;
}

function ruleFor(keyword: string, params: Readonly<Record<string, unknown>>, message: string): string {
  const { limit, allowedValues, type } = params;
  const phrase = PHRASES[keyword];
  if (phrase !== undefined) return phrase.replace('N', String(limit));
  if (keyword === 'type') return `of type ${String(type)}`;
  if (keyword === 'enum' && Array.isArray(allowedValues)) return `one of ${allowedValues.join(', ')}`;
  return `as the schema says, which is: ${message}`;
}

/** Follows a JSON pointer; an empty object where it leads nowhere. */
function at(root: unknown, pointer: string): Record<string, unknown> {
  let here: unknown = root;
  for (const part of pointer.split('/').slice(1)) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~');
    here = typeof here === 'object' && here !== null ? (here as Record<string, unknown>)[name] : undefined;
  }
  // Read as an object or shown as it is; a primitive has no member that is asked for here.
  return (here ?? {}) as Record<string, unknown>;
}
