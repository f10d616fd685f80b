import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { FAILURES, isFailureCode } from '../protocol/failure-table.ts';
import { Fault } from '../protocol/fault.ts';
import { LANGUAGES, STORAGES } from '../protocol/run-order.ts';
import { LAYOUT_FOLDER } from '../protocol/volume-layout.ts';
import type { ApiOptions } from './agent-view.ts';
import { answers } from './answer-schemas.ts';
import { MountAnswer, mountAnswer } from './mount-answer.ts';
import type { App } from './typed-app.ts';
import { GUARDED } from './open-api.ts';
import { serverFrom } from './request-marks.ts';
import { START_LIMITS, startBodySchema } from './start-body.ts';

const about = { tags: ['about'] };

/**
 * Without trust in the volume the agent stays ready: taken out of its Service, it could tell nobody why it refuses work,
 * nor how the scripts ended that lost their volume. Other replicas have the same volume.
 */
const READY = {
  summary: 'Does the agent answer requests',
  description:
    'Ready also while the volume is not trusted, so that clients get the reason of a refusal and the outcomes of ' +
    'their scripts; `verdict` says what is believed of it',
};

const MOUNT = {
  summary: 'What the agent believes of its volume, and why',
  description:
    'The verdict, what it rests on, and what the kernel says of the mount. Never waits for the volume',
};

/** What the agent is, can do and thinks of itself; none of these calls touches the volume. */
export function addAboutRoutes(app: App, options: ApiOptions): void {
  const capabilities = capabilitiesOf(options);
  app.get('/livez', { schema: { ...about, summary: 'Is the process alive' } }, async () => ({ alive: true }));
  app.get('/readyz', { schema: { ...about, ...READY } }, async (_request, reply) => {
    const readiness = options.readiness();
    const { verdict, says: volume } = options.mount().belief;
    return reply.code(readiness.ready ? 200 : 503).send({ ...readiness, verdict, volume });
  });
  const onRequest = async (request: FastifyRequest): Promise<void> => {
    request.serverName = serverFrom(request.headers.authorization, options.serverOf);
  };
  app.get(
    '/v1/capabilities',
    { onRequest, schema: { ...about, summary: 'What this agent can do', security: GUARDED } },
    async () => capabilities,
  );
  const answer = answers({ 200: MountAnswer });
  app.get(
    '/v1/mount',
    { onRequest, schema: { ...about, ...MOUNT, security: GUARDED, response: answer } },
    async () => mountAnswer(options.mount(), new Date()),
  );
  app.get('/v1/openapi.json', { schema: { ...about, summary: 'This document' } }, async () => app.swagger());
  app.get('/v1/failures', { schema: { ...about, summary: 'The failure table' } }, async () => FAILURES);
  app.get(
    '/v1/failures/:code',
    {
      schema: {
        ...about,
        summary: 'One row of the failure table',
        params: Type.Object({ code: Type.String() }),
        response: answers(),
      },
    },
    async (request) => {
      const { code } = request.params;
      if (isFailureCode(code)) return { code, ...FAILURES[code] };
      throw new Fault('ROUTE_UNKNOWN', `there is no code ${JSON.stringify(code.slice(0, 100))}`);
    },
  );
}

/** What a server may rely on: a member of a start body that is not named here is refused. */
function capabilitiesOf({ version, limits, checkPod }: ApiOptions): Readonly<Record<string, unknown>> {
  const { scriptBodyMaxBytes, maxDeadlineSeconds, maxWaitSeconds, uploadMaxBytes, maxUploads, maxScripts } =
    limits;
  return {
    name: 'longshore',
    versions: { agent: version, http: 1, volumeLayout: LAYOUT_FOLDER, node: process.version },
    languages: LANGUAGES,
    storage: [...STORAGES],
    isolation: ['none', 'full'],
    digests: ['sha-256'],
    executor: checkPod ? 'kubernetes' : 'local',
    fields: Object.keys(startBodySchema(limits).properties).filter((name) => checkPod || name !== 'pod'),
    limits: {
      ...START_LIMITS,
      ...{ scriptBodyMaxBytes, maxDeadlineSeconds, maxWaitSeconds, uploadMaxBytes, maxUploads, maxScripts },
    },
  };
}
