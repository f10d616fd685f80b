import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger';

/** What the OpenAPI document says of the interface as a whole. */
export function openApiOptions(version: string): FastifyDynamicSwaggerOptions {
  return { openapi: infoFor(version), exposeHeadRoutes: true, transform: named };
}

type Transform = NonNullable<FastifyDynamicSwaggerOptions['transform']>;

/** Gives the rest of a path a name: OpenAPI has no `*`. */
const named: Transform = ({ schema, url }) => {
  const { properties } = (schema.params ?? {}) as { properties?: Readonly<Record<string, unknown>> };
  if (!url.endsWith('/*') || properties === undefined) return { schema, url };
  const { '*': name, ...others } = properties;
  const params = {
    type: 'object',
    properties: { ...others, name },
    required: [...Object.keys(others), 'name'],
  };
  return { schema: { ...schema, params }, url: url.replace('*', ':name') };
};

function infoFor(version: string): NonNullable<FastifyDynamicSwaggerOptions['openapi']> {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Longshore',
      version,
      description:
        'An agent that runs the scripts of a deployment server next to a shared volume. Errors are problem documents ' +
        '(RFC 9457) with a stable code.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    tags: [
      { name: 'staging', description: 'packages and blobs' },
      { name: 'scripts', description: 'the life of a script' },
      { name: 'about', description: 'the agent itself' },
    ],
  };
}

/** Every guarded route. */
export const GUARDED = [{ token: [] }];
