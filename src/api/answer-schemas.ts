import { Type, type TSchema } from 'typebox';
import { SCRIPT_STATES } from '../protocol/script-state.ts';

// A list of all codes in every answer of every route would be most of the document.
const Code = Type.String({ description: 'a code of the failure table, see `/v1/failures`' });
const Time = Type.String({ format: 'date-time' });
const OrNull = <T extends TSchema>(schema: T, description?: string) =>
  Type.Union([schema, Type.Null()], description === undefined ? {} : { description });

/** Every answer that is no success. */
export const ProblemAnswer = Type.Object(
  {
    type: Type.String({ description: 'where this agent explains the code' }),
    title: Type.String({ description: 'the sentence of the failure table' }),
    status: Type.Integer(),
    detail: Type.String({ description: 'what could not be done, the rule, the value seen' }),
    code: Code,
    retry: Type.Enum(['never', 'later', 'operator']),
    requestId: Type.String(),
    ticket: Type.Optional(Type.String()),
    field: Type.Optional(Type.String({ description: 'JSON pointer, or the name of a header or parameter' })),
    rule: Type.Optional(Type.String()),
    value: Type.Optional(Type.String({ description: 'as JSON, its first 200 characters' })),
  },
  { title: 'Problem', description: 'of media type application/problem+json', additionalProperties: true },
);

export const BlobAnswer = Type.Object(
  {
    digest: Type.String({ description: '`sha256:<hex>`' }),
    size: Type.Integer(),
  },
  { title: 'Blob' },
);

export const PackageAnswer = Type.Object(
  {
    id: Type.String(),
    version: Type.String(),
    digest: Type.String({ description: '`sha256:<hex>`' }),
    size: Type.Integer(),
    extension: Type.String({ description: 'with its dot, or empty' }),
    pushedAt: Time,
  },
  { title: 'Package' },
);

export const PackagesAnswer = Type.Object({ packages: Type.Array(PackageAnswer) }, { title: 'Packages' });

export const OutcomeAnswer = Type.Object(
  {
    code: Code,
    category: Type.Enum(['script', 'cluster', 'storage', 'staging', 'agent', 'server']),
    exitCode: OrNull(Type.Integer(), "the script's own; null where it did not exit by itself"),
    signal: OrNull(Type.String(), 'that ended the script, such as SIGKILL'),
    says: Type.String({ description: 'one sentence for a person' }),
    retry: Type.Enum(['never', 'later', 'operator']),
    evidence: Type.Record(Type.String(), Type.Unknown(), { description: 'what the outcome rests on' }),
    startedAt: OrNull(Time, 'when its process started; null where nothing ran'),
    endedAt: Time,
  },
  { title: 'Outcome' },
);

export const LineAnswer = Type.Object(
  {
    id: Type.String({ description: 'names the line in the whole journal' }),
    seq: Type.Integer({
      description: 'counts the lines of the runner, and apart from them those of the agent',
    }),
    at: Time,
    stream: Type.Enum(['stdout', 'stderr', 'agent', 'pod'], {
      description: "the script's two, what agent and runner say, and what is around the script",
    }),
    text: Type.String({ description: 'without its line end' }),
    partial: Type.Optional(
      Type.Boolean({ description: 'the next line of the stream goes on with this one' }),
    ),
    base64: Type.Optional(Type.String({ description: 'the exact bytes, where they are not UTF-8' })),
  },
  { title: 'Line' },
);

export const StatusAnswer = Type.Object(
  {
    ticket: Type.String(),
    state: Type.Enum([...SCRIPT_STATES]),
    outcome: OrNull(OutcomeAnswer),
    labels: Type.Record(Type.String(), Type.String()),
    journal: Type.Object({
      next: Type.String({ description: 'cursor; goes back as `?after=`' }),
      more: Type.Boolean({ description: 'more lines are there already' }),
      lines: Type.Array(LineAnswer),
    }),
  },
  { title: 'Status' },
);

export const ArtifactsAnswer = Type.Object(
  {
    artifacts: Type.Array(Type.Object({ name: Type.String(), size: Type.Integer() })),
  },
  { title: 'Artifacts' },
);

/**
 * The answers of a route, for its documentation: its own, and a problem document for every error.
 *
 * The type is wide on purpose: what the handlers return has its type from the rooms that make it.
 */
export function answers(own: Readonly<Record<number, TSchema>> = {}): object {
  return { ...own, '4xx': PROBLEM, '5xx': PROBLEM };
}

/** An answer that is no JSON: not a schema itself, but what fastify takes in the place of one where the media type matters. */
export function answerOf(mediaType: string, description: string): TSchema {
  return { description, content: { [mediaType]: { schema: Type.String() } } };
}

const PROBLEM = {
  description: 'problem document',
  content: { 'application/problem+json': { schema: ProblemAnswer } },
};
