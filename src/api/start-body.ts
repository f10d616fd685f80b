import { Type, type Static, type TSchema } from 'typebox';
import { LANGUAGES, STORAGES } from '../protocol/run-order.ts';
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
    path: Type.String({ description: 'relative to the working directory' }),
    content: Type.Optional(
      Type.String({ description: 'either this or `digest`; 1 MiB in all files together' }),
    ),
    encoding: Type.Optional(Type.Enum(['utf8', 'base64'], { description: 'of `content`; default utf8' })),
    digest: Type.Optional(Type.String({ description: '`sha256:<hex>` of a blob that was pushed before' })),
  },
  closed,
);
const Package = Type.Object(
  { id: Type.String(), version: Type.String() },
  { ...closed, description: 'lies at `$LONGSHORE_PACKAGES/<id>.<version><extension>`' },
);
const Variable = Type.Object(
  {
    name: Type.String({
      minLength: 1,
      maxLength: 200,
      description: 'in the environment every character outside A-Z a-z 0-9 _ becomes _',
    }),
    value: Type.String({ description: 'at most 120 KiB, and 1 MiB in all variables together' }),
    sensitive: Type.Optional(
      Type.Boolean({ description: 'never on the volume in clear, and masked in the journal; default false' }),
    ),
  },
  closed,
);
const Isolation = Type.Object(
  {
    level: Type.Enum(['none', 'full'], {
      description: 'full: alone among the scripts of the name; none: beside others that say none',
    }),
    name: Type.String({ pattern: '^[A-Za-z0-9._-]{1,64}$', 'x-rule': ISOLATION_NAME_RULE }),
    timeoutSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: START_LIMITS.isolationTimeoutSeconds,
        description: 'longest wait in the line of the name',
      }),
    ),
  },
  closed,
);
const Labels = Type.Record(
  Type.String({ pattern: '^[A-Za-z0-9._/-]{1,63}$' }),
  Type.String({ maxLength: 1000 }),
  {
    ...closed,
    maxProperties: START_LIMITS.labels,
    'x-rule': LABEL_RULE,
    description: `come back with each status, and are seen on the pod; ${LABEL_RULE}`,
  },
);

const Quantities = Type.Record(
  Type.String({ minLength: 1, maxLength: 100 }),
  Type.String({ maxLength: 40 }),
  {
    maxProperties: 20,
  },
);
const Toleration = Type.Object(
  {
    key: Type.Optional(Type.String({ maxLength: 317 })),
    operator: Type.Optional(Type.Enum(['Exists', 'Equal'])),
    value: Type.Optional(Type.String({ maxLength: 63 })),
    effect: Type.Optional(Type.Enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute'])),
    tolerationSeconds: Type.Optional(Type.Integer({ minimum: 0 })),
  },
  closed,
);
const Pod = Type.Object(
  {
    image: Type.Optional(Type.String({ minLength: 1, maxLength: 1000 })),
    serviceAccount: Type.Optional(Type.String({ minLength: 1, maxLength: 253 })),
    resources: Type.Optional(
      Type.Object(
        { requests: Type.Optional(Quantities), limits: Type.Optional(Quantities) },
        { ...closed, description: 'quantities as Kubernetes writes them' },
      ),
    ),
    nodeSelector: Type.Optional(
      Type.Record(Type.String({ minLength: 1, maxLength: 317 }), Type.String({ maxLength: 63 }), {
        maxProperties: 20,
      }),
    ),
    tolerations: Type.Optional(Type.Array(Toleration, { maxItems: 20 })),
  },
  { ...closed, description: 'in a cluster only, and each only as `podPolicy` of the configuration allows' },
);

/** The schema of `PUT /v1/scripts/{ticket}`, with the longest deadline that the configuration allows. */
export function startBodySchema({ maxDeadlineSeconds }: { maxDeadlineSeconds: number }) {
  const list = <T extends TSchema>(item: T, maxItems: number, description = '') =>
    Type.Optional(Type.Array(item, { maxItems, ...(description && { description }) }));
  return Type.Object(
    {
      language: Type.Enum([...LANGUAGES]),
      body: Type.String({ description: 'the script itself; CRLF becomes LF' }),
      arguments: list(
        Type.String(),
        START_LIMITS.arguments,
        'reach the script as they are, never through a shell; at most 128 KiB each and 768 KiB together',
      ),
      files: list(File, START_LIMITS.files, 'lie in the working directory'),
      packages: list(Package, START_LIMITS.packages, 'pushed before; read-only'),
      variables: list(Variable, START_LIMITS.variables, 'become variables of its environment'),
      isolation: Type.Optional(Isolation),
      storage: Type.Optional(
        Type.Enum([...STORAGES], {
          description:
            'shared: works in its workspace on the volume; copied: works on a copy on local disk, so that it outlives a restart of the storage; default shared',
        }),
      ),
      deadlineSeconds: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: maxDeadlineSeconds,
          description: 'from the start of its process to TERM',
        }),
      ),
      graceSeconds: Type.Optional(
        Type.Integer({ minimum: 0, maximum: START_LIMITS.graceSeconds, description: 'from TERM to KILL' }),
      ),
      labels: Type.Optional(Labels),
      pod: Type.Optional(Pod),
    },
    closed,
  );
}

/** A start body whose schema holds. */
export type StartBody = Static<ReturnType<typeof startBodySchema>>;

/** Members that the interface knows and this version does not honour. */
const UNSUPPORTED_MEMBERS = ['command'] as const;

/**
 * Refuses by name what a later version may do and this one cannot; anything else unknown is left to the schema.
 *
 * @throws {Fault} FIELD_UNSUPPORTED.
 */
export function refuseUnsupported(body: unknown, can: { readonly pods: boolean }): void {
  if (typeof body !== 'object' || body === null) return;
  const { language } = body as Readonly<Record<string, unknown>>;
  for (const member of [...UNSUPPORTED_MEMBERS, ...(can.pods ? [] : ['pod'])]) {
    if (Object.hasOwn(body, member)) throw unsupported(`/${member}`, 'left out');
  }
  if (typeof language === 'string' && !LANGUAGES.some((known) => known === language)) {
    throw unsupported('/language', `one of ${LANGUAGES.join(', ')}`, language);
  }
}

function unsupported(field: string, rule: string, value?: string): Fault {
  return invalidField(
    field,
    `${rule}: this agent cannot do more; see /v1/capabilities`,
    value,
    'FIELD_UNSUPPORTED',
  );
}
