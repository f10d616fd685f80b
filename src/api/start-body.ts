import { Type, type Static } from 'typebox';
import { LANGUAGES } from '../protocol/run-order.ts';
import type { Fault } from '../protocol/fault.ts';
import { invalidField } from './problem.ts';

/** Bounds of a start body that no configuration moves. */
export const START_LIMITS = {
  files: 10_000,
  inlineBytes: 2 ** 20,
  packages: 1000,
  arguments: 1000,
  /** MAX_ARG_STRLEN of Linux, less the NUL at the end. */
  argumentBytes: 128 * 1024 - 1,
  /** Together: what execve(2) takes is bounded too, and the variables need their part of it. */
  argumentsBytes: 768 * 1024,
  variables: 1000,
  variableBytes: 120 * 1024,
  variablesBytes: 2 ** 20,
  labels: 20,
  graceSeconds: 600,
  isolationTimeoutSeconds: 604_800,
} as const;

export const ISOLATION_NAME_RULE = '1 to 64 of the characters A-Z a-z 0-9 . _ -';
const LABEL_RULE = 'at most 20 labels, each a name of 1 to 63 of the characters A-Z a-z 0-9 . _ / -';

const closed = { additionalProperties: false } as const;

const File = Type.Object(
  {
    path: Type.String(),
    content: Type.Optional(Type.String()),
    encoding: Type.Optional(Type.Enum(['utf8', 'base64'])),
    digest: Type.Optional(Type.String()),
  },
  closed,
);
const Package = Type.Object({ id: Type.String(), version: Type.String() }, closed);
const Variable = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 200 }),
    value: Type.String(),
    sensitive: Type.Optional(Type.Boolean()),
  },
  closed,
);
const IsolationName = Type.String({ pattern: '^[A-Za-z0-9._-]{1,64}$', description: ISOLATION_NAME_RULE });

/** The schema of `PUT /v1/scripts/{ticket}`, with the longest deadline that the configuration allows. */
export function startBodySchema({ maxDeadlineSeconds }: { maxDeadlineSeconds: number }) {
  const { files, packages, variables, labels, graceSeconds, isolationTimeoutSeconds } = START_LIMITS;
  return Type.Object(
    {
      language: Type.Enum([...LANGUAGES]),
      body: Type.String(),
      arguments: Type.Optional(Type.Array(Type.String(), { maxItems: START_LIMITS.arguments })),
      files: Type.Optional(Type.Array(File, { maxItems: files })),
      packages: Type.Optional(Type.Array(Package, { maxItems: packages })),
      variables: Type.Optional(Type.Array(Variable, { maxItems: variables })),
      isolation: Type.Optional(
        Type.Object(
          {
            level: Type.Enum(['none', 'full']),
            name: IsolationName,
            timeoutSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: isolationTimeoutSeconds })),
          },
          closed,
        ),
      ),
      storage: Type.Optional(Type.Enum(['shared'])),
      deadlineSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: maxDeadlineSeconds })),
      graceSeconds: Type.Optional(Type.Integer({ minimum: 0, maximum: graceSeconds })),
      labels: Type.Optional(
        Type.Record(Type.String({ pattern: '^[A-Za-z0-9._/-]{1,63}$' }), Type.String({ maxLength: 1000 }), {
          ...closed,
          maxProperties: labels,
          description: LABEL_RULE,
        }),
      ),
    },
    closed,
  );
}

/** A start body whose schema holds. */
export type StartBody = Static<ReturnType<typeof startBodySchema>>;

/** Members that the interface knows and this version does not honour. */
const UNSUPPORTED_MEMBERS = ['command', 'pod'] as const;

/**
 * Refuses by name what a later version may do and this one cannot; anything else unknown is left to the schema.
 *
 * @throws {Fault} FIELD_UNSUPPORTED.
 */
export function refuseUnsupported(body: unknown): void {
  if (typeof body !== 'object' || body === null) return;
  const { language, storage } = body as Readonly<Record<string, unknown>>;
  for (const member of UNSUPPORTED_MEMBERS) {
    if (Object.hasOwn(body, member)) throw unsupported(`/${member}`, 'left out');
  }
  if (typeof language === 'string' && !LANGUAGES.some((known) => known === language)) {
    throw unsupported('/language', `one of ${LANGUAGES.join(', ')}`, language);
  }
  if (storage === 'copied') throw unsupported('/storage', 'shared', storage);
}

function unsupported(field: string, rule: string, value?: string): Fault {
  return invalidField(
    field,
    `${rule}: this agent cannot do more; see /v1/capabilities`,
    value,
    'FIELD_UNSUPPORTED',
  );
}
