import { table } from './markdown-table.ts';

/** A JSON schema, as far as the page shows it. */
interface Schema {
  readonly title?: string;
  readonly description?: string;
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly 'x-rule'?: string;
}

interface Content {
  readonly content?: Readonly<Record<string, { readonly schema?: Schema }>>;
}

interface Operation {
  readonly summary?: string;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly security?: readonly unknown[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required?: boolean;
    readonly description?: string;
    readonly schema?: Schema;
  }[];
  readonly requestBody?: Content;
  readonly responses?: Readonly<Record<string, Content>>;
}

interface OpenApi {
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

const INTRODUCTION = `# HTTP, version 1

Bodies and answers are JSON, but for the bodies of uploads and artifacts. The agent gives this page as OpenAPI 3.1 too:
\`GET /v1/openapi.json\`. [The first guide](../guides/first-script.md) takes a script through its life
with curl.

**Tokens.** Every call, but for those that say so, needs \`Authorization: Bearer TOKEN\` with a token of the
[tokens file](configuration.md#the-tokens-file). A ticket belongs to the server whose token made it; for others it
does not exist.

**Errors** are problem documents (RFC 9457, \`application/problem+json\`) with a \`code\` of the
[failure table](failures.md), which \`type\` leads to. The header \`X-Longshore-Code\` has the code too, for answers to
HEAD. 429 and 503 come with \`Retry-After\`. Members and parameters that a call does not know are refused.

**Repeating.** Every call may be repeated when its answer was lost: nothing is done twice.

**Request ids.** \`X-Request-Id\` of 1 to 64 of the characters A-Z a-z 0-9 . _ - comes back and stands in the log;
without one the agent makes one.

**Uploads.** A client that sends \`Expect: 100-continue\` is told to go on only after its token, the names, the digest
and the free space were checked, so that a refused upload costs no bytes. \`Repr-Digest\` (RFC 9530, sha-256) is checked
while the bytes arrive, and where the agent has these bytes already it does not ask for them. \`If-None-Match: *\` refuses
what exists. \`Content-Encoding\` and \`Content-Range\` are refused.

**Cursors.** \`journal.next\` of a status and the \`id\` of an event are the place behind what came with them. Hand one back
as \`?after=\` or \`Last-Event-ID\`, and no line is lost or comes twice, also after a restart of the agent.
`;

const METHODS = ['get', 'head', 'put', 'post', 'delete'] as const;

/** Renders docs/reference/http.md from an OpenAPI document. */
export function httpPage(document: unknown): string {
  // The document is the one that our own app writes; test/api checks it.
  const { paths, tags } = document as OpenApi;
  const answers = new Map<string, Schema>();
  const groups = tags.map(({ name, description }) => {
    const calls = Object.entries(paths).flatMap(([path, operations]) =>
      METHODS.flatMap((method) => {
        const operation = operations[method];
        return operation?.tags?.includes(name) ? [callText(method, path, operation, answers)] : [];
      }),
    );
    return `## ${heading(description)}\n\n${calls.join('\n')}`;
  });
  const shapes = [...answers.values()].map(
    (schema) =>
      `### ${schema.title ?? ''}\n\n${schema.description ? `${heading(schema.description)}.\n\n` : ''}${membersOf(schema)}\n`,
  );
  return `${INTRODUCTION}\n${groups.join('\n')}\n## Answers\n\n${shapes.join('\n')}`;
}

function callText(method: string, path: string, operation: Operation, answers: Map<string, Schema>): string {
  const { summary = '', description, parameters = [], requestBody, responses = {}, security } = operation;
  const parts = [
    `### ${method.toUpperCase()} ${path}`,
    `${summary}.${description === undefined ? '' : ` ${description}.`}${security === undefined ? ' Needs no token.' : ''}`,
  ];
  const named = parameters.filter(
    ({ description: says, in: place }) => says !== undefined || place !== 'path',
  );
  if (named.length > 0) {
    const rows = named.map(({ name, in: place, required, description: says, schema }) => [
      `\`${place === 'query' ? '?' : ''}${name}\`${required === true && place === 'query' ? ' (needed)' : ''}`,
      says ?? schema?.description ?? '',
    ]);
    parts.push(table(['parameter', 'what it is'], rows));
  }
  const body = requestBody?.content?.['application/json']?.schema;
  if (body) parts.push(membersOf(body));
  parts.push(answersText(responses, answers));
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function answersText(responses: Readonly<Record<string, Content>>, answers: Map<string, Schema>): string {
  const texts = Object.entries(responses).flatMap(([status, { content = {} }]) => {
    if (!/^2\d\d$/.test(status)) return [];
    const [schema] = Object.values(content).map((one) => one.schema);
    if (schema?.title === undefined) return [status];
    collect(schema, answers);
    return [`${status} [${schema.title}](#${schema.title.toLowerCase()})`];
  });
  for (const [status, { content = {} }] of Object.entries(responses)) {
    const [schema] = Object.values(content).map((one) => one.schema);
    if (/^[45]/.test(status) && schema) collect(schema, answers);
  }
  return texts.length === 0 ? '' : `Answers ${texts.join(', ')}.`;
}

/** Notes a shape and those inside it that have a name of their own. */
function collect(schema: Schema, answers: Map<string, Schema>): void {
  if (schema.title !== undefined && schema.properties) answers.set(schema.title, schema);
  const inside = [schema.items, ...(schema.anyOf ?? []), ...Object.values(schema.properties ?? {})];
  for (const one of inside) if (one) collect(one, answers);
}

function membersOf(schema: Schema): string {
  return table(['member', 'type', 'what it is'], rowsOf(schema, ''));
}

function rowsOf(schema: Schema, prefix: string): string[][] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, member]) => {
    const path = `${prefix}${name}`;
    const optional = schema.required?.includes(name) === true ? '' : '?';
    const inside = insideOf(member);
    const deeper = inside?.title === undefined ? inside : undefined;
    return [
      [
        `\`${path}${optional}\``,
        typeOf(member),
        [...new Set([member.description, deeper?.description])].filter(Boolean).join('; '),
      ],
      ...(deeper?.properties ? rowsOf(deeper, `${path}${member.type === 'array' ? '[]' : ''}.`) : []),
    ];
  });
}

function insideOf(schema: Schema): Schema | undefined {
  if (schema.type === 'array') return schema.items;
  return schema.properties ? schema : undefined;
}

function typeOf(schema: Schema): string {
  if (schema.title !== undefined && schema.properties)
    return `[${schema.title}](#${schema.title.toLowerCase()})`;
  if (schema.enum) return schema.enum.map((value) => `\`${String(value)}\``).join(', ');
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(' or ');
  if (schema.type === 'array')
    return `list of ${typeOf(schema.items ?? {})}${schema.maxItems === undefined ? '' : `, at most ${schema.maxItems}`}`;
  if (schema['x-rule'] !== undefined && schema.type === 'string') return schema['x-rule'];
  return `${schema.type ?? 'anything'}${rangeOf(schema)}`;
}

function rangeOf({ minimum, maximum, minLength, maxLength }: Schema): string {
  const [low, high] = [minimum ?? minLength, maximum ?? maxLength];
  const unit = minLength === undefined && maxLength === undefined ? '' : ' characters';
  if (low !== undefined && high !== undefined) return `, ${low} to ${high}${unit}`;
  return high === undefined ? '' : `, at most ${high}${unit}`;
}

function heading(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}
