import { Type, type TSchema } from 'typebox';
import { FAILURES } from '../protocol/failure-table.ts';
import { SCRIPT_STATES } from '../protocol/script-state.ts';

const codes = Object.keys(FAILURES);
const Time = Type.String({ format: 'date-time' });
const OrNull = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

/** Every answer that is no success. */
export const ProblemAnswer = Type.Object(
  {
    type: Type.String({ description: 'where this agent explains the code' }),
    title: Type.String({ description: 'the sentence of the failure table' }),
    status: Type.Integer(),
    detail: Type.String({ description: 'what could not be done, the rule, the value seen' }),
    code: Type.Enum(codes),
    retry: Type.Enum(['never', 'later', 'operator']),
    requestId: Type.String(),
    ticket: Type.Optional(Type.String()),
    field: Type.Optional(Type.String({ description: 'JSON pointer, or the name of a header or parameter' })),
    rule: Type.Optional(Type.String()),
    value: Type.Optional(Type.String({ description: 'as JSON, its first 200 characters' })),
  },
  { description: 'problem document; media type application/problem+json', additionalProperties: true },
);

export const BlobAnswer = Type.Object({
  digest: Type.String({ description: 'sha256:<hex>' }),
  size: Type.Integer(),
});

export const PackageAnswer = Type.Object({
  id: Type.String(),
  version: Type.String(),
  digest: Type.String({ description: 'sha256:<hex>' }),
  size: Type.Integer(),
  extension: Type.String({ description: 'with its dot, or empty' }),
  pushedAt: Time,
});

export const PackagesAnswer = Type.Object({ packages: Type.Array(PackageAnswer) });

export const OutcomeAnswer = Type.Object({
  code: Type.Enum(codes),
  category: Type.Enum(['script', 'cluster', 'storage', 'staging', 'agent', 'server']),
  exitCode: OrNull(Type.Integer()),
  signal: OrNull(Type.String()),
  says: Type.String(),
  retry: Type.Enum(['never', 'later', 'operator']),
  evidence: Type.Record(Type.String(), Type.Unknown()),
  startedAt: OrNull(Time),
  endedAt: Time,
});

export const LineAnswer = Type.Object({
  id: Type.String(),
  seq: Type.Integer(),
  at: Time,
  stream: Type.Enum(['stdout', 'stderr', 'agent', 'pod']),
  text: Type.String(),
  partial: Type.Optional(Type.Boolean({ description: 'the next line of the stream goes on with this one' })),
  base64: Type.Optional(Type.String({ description: 'the exact bytes, where they are not UTF-8' })),
});

export const StatusAnswer = Type.Object({
  ticket: Type.String(),
  state: Type.Enum([...SCRIPT_STATES]),
  outcome: OrNull(OutcomeAnswer),
  labels: Type.Record(Type.String(), Type.String()),
  journal: Type.Object({
    next: Type.String({ description: 'cursor; goes back as ?after=' }),
    more: Type.Boolean({ description: 'more lines are there already' }),
    lines: Type.Array(LineAnswer),
  }),
});

export const ArtifactsAnswer = Type.Object({
  artifacts: Type.Array(Type.Object({ name: Type.String(), size: Type.Integer() })),
});

/**
 * The answers of a route, for its documentation: its own, and a problem document for every error.
 *
 * The type is wide on purpose: what the handlers return has its type from the rooms that make it.
 */
export function answers(own: Readonly<Record<number, TSchema>> = {}): object {
  return { ...own, '4xx': ProblemAnswer, '5xx': ProblemAnswer };
}
