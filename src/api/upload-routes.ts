import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { parseSha256, reprDigestFor, type Sha256 } from '../protocol/digest.ts';
import { Fault } from '../protocol/fault.ts';
import {
  PACKAGE_ID_RULE,
  PACKAGE_VERSION_RULE,
  parsePackageId,
  parsePackageVersion,
  type PackageId,
  type PackageVersion,
} from '../protocol/package-name.ts';
import type { PackagePointer } from '../staging/package-store.ts';
import type { ApiEvent, ApiOptions } from './agent-view.ts';
import { BlobAnswer, PackageAnswer, PackagesAnswer, answers } from './answer-schemas.ts';
import type { App } from './typed-app.ts';
import type { BodyManners } from './body-manners.ts';
import { intakeGuard } from './intake-guard.ts';
import { GUARDED } from './open-api.ts';
import { faultOf, invalidField } from './problem.ts';
import { untilGone } from './request-marks.ts';
import { extensionFrom, uploadHeadFrom } from './upload-headers.ts';

const PackageParams = Type.Object({ id: Type.String(), version: Type.String() });
const FileName = Type.Object(
  {
    filename: Type.Optional(
      Type.String({
        description: 'its extension becomes that of the package; instead of Content-Disposition',
      }),
    ),
  },
  { additionalProperties: false },
);
const BlobParams = Type.Object({ hex: Type.String() });
const PackagesQuery = Type.Object(
  { id: Type.String({ description: 'of the package' }) },
  { additionalProperties: false },
);
const ANY_BODY = ['application/octet-stream'];

/** Packages and blobs: the body of a PUT is the file itself, of any media type. */
export function addUploadRoutes(app: App, options: ApiOptions, manners: BodyManners): void {
  // The handlers take the raw stream; a parser would read the body before anything was checked.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
  addPackageRoutes(app, options, manners);
  addPackageList(app, options);
  addBlobRoutes(app, options, manners);
}

function addPackageRoutes(app: App, options: ApiOptions, manners: BodyManners): void {
  const about = { tags: ['staging'], security: GUARDED };
  app.put(
    '/v1/packages/:id/:version',
    {
      onRequest: intakeGuard(options),
      schema: {
        ...about,
        ...{ summary: 'Push a package', consumes: ANY_BODY, params: PackageParams, querystring: FileName },
        description:
          'The body is the file itself. 201 when it was created, 200 when the version had these bytes already',
        response: answers({ 200: PackageAnswer, 201: PackageAnswer }),
      },
    },
    async (request, reply) => {
      const [id, version] = packageNamed(request.params);
      const extension = extensionFrom(request.query.filename, request.headers['content-disposition']);
      const upload = uploadOf(request, reply, { options, manners });
      const { packages } = options.agent();
      const pushed = await told(options, 'package', async () => {
        const { pointer, created } = await packages.push(id, version, { ...upload, extension });
        return { created, size: pointer.size, pointer };
      });
      void reply.code(pushed.created ? 201 : 200).headers(headersFor(pushed.pointer));
      return packageAnswer(pushed.pointer);
    },
  );
  app.head(
    '/v1/packages/:id/:version',
    {
      schema: {
        ...about,
        summary: 'Ask whether a package is there',
        description: 'Repr-Digest and Content-Length say which bytes it has',
        params: PackageParams,
        response: answers({ 200: Type.Null() }),
      },
    },
    async (request, reply) => {
      const [id, version] = packageNamed(request.params);
      const pointer = await options.agent().packages.find(id, version);
      if (pointer === undefined) throw new Fault('PACKAGE_UNKNOWN', `there is no package ${id} ${version}`);
      return reply.headers({ ...headersFor(pointer), 'content-length': pointer.size }).send();
    },
  );
}

function addPackageList(app: App, options: ApiOptions): void {
  app.get(
    '/v1/packages',
    {
      schema: {
        tags: ['staging'],
        security: GUARDED,
        summary: 'List the versions of a package',
        querystring: PackagesQuery,
        response: answers({ 200: PackagesAnswer }),
      },
    },
    async (request) => {
      const id = packageId(request.query.id, '?id');
      return { packages: (await options.agent().packages.list(id)).map(packageAnswer) };
    },
  );
}

function addBlobRoutes(app: App, options: ApiOptions, manners: BodyManners): void {
  const about = { tags: ['staging'], security: GUARDED, params: BlobParams };
  app.put(
    '/v1/blobs/sha256/:hex',
    {
      onRequest: intakeGuard(options),
      schema: {
        ...about,
        ...{ summary: 'Push a blob', consumes: ANY_BODY },
        description:
          'The address is the digest that the body must have. 201 when it was created, 200 when it was there',
        response: answers({ 200: BlobAnswer, 201: BlobAnswer }),
      },
    },
    async (request, reply) => {
      const digest = blobNamed(request.params.hex);
      const { ifNoneMatch, ...upload } = uploadOf(request, reply, { options, manners });
      if (upload.digest !== undefined && upload.digest !== digest) {
        const rule = `that of the address, ${reprDigestFor(digest)}, or left out`;
        throw invalidField('header repr-digest', rule, reprDigestFor(upload.digest), 'DIGEST_INVALID');
      }
      const { blobs } = options.agent();
      if (ifNoneMatch && (await blobs.find(digest))) throw blobExists(digest);
      const blob = await told(options, 'blob', () => blobs.receive(request.raw, { ...upload, digest }));
      if (ifNoneMatch && !blob.created) throw blobExists(digest);
      void reply.code(blob.created ? 201 : 200).header('repr-digest', reprDigestFor(digest));
      return { digest: `sha256:${blob.digest}`, size: blob.size };
    },
  );
  app.head(
    '/v1/blobs/sha256/:hex',
    {
      schema: {
        ...about,
        summary: 'Ask whether a blob is there',
        response: answers({ 200: Type.Null() }),
      },
    },
    async (request, reply) => {
      const digest = blobNamed(request.params.hex);
      const blob = await options.agent().blobs.find(digest);
      if (blob === undefined) throw new Fault('BLOB_UNKNOWN', `there is no blob sha256:${digest}`);
      return reply.headers({ 'repr-digest': reprDigestFor(digest), 'content-length': blob.size }).send();
    },
  );
}

/** What a push needs of a request: the body, what was announced, and the way to ask for it. */
function uploadOf(
  request: FastifyRequest,
  reply: FastifyReply,
  { options, manners }: { options: ApiOptions; manners: BodyManners },
) {
  const stopping = new AbortController();
  const stop = (): void => stopping.abort(new Fault('AGENT_STOPPING', 'the agent stopped during the upload'));
  options.stopping.addEventListener('abort', stop, { once: true });
  reply.raw.once('close', () => options.stopping.removeEventListener('abort', stop));
  return {
    ...uploadHeadFrom(request.headers),
    source: request.raw,
    signal: AbortSignal.any([stopping.signal, untilGone(reply, stopping.signal)]),
    accept: () => manners.askFor(request, reply),
  };
}

/** Does an upload and tells how it went. */
async function told<T extends { readonly created: boolean; readonly size: number }>(
  { observe }: ApiOptions,
  kind: 'package' | 'blob',
  upload: () => Promise<T>,
): Promise<T> {
  const startedAt = performance.now();
  const tell = (result: Extract<ApiEvent, { type: 'upload' }>['result'], bytes: number): void =>
    observe({ type: 'upload', kind, result, bytes, seconds: (performance.now() - startedAt) / 1000 });
  try {
    const done = await upload();
    tell(done.created ? 'created' : 'same', done.created ? done.size : 0);
    return done;
  } catch (error) {
    tell(faultOf(error, '').code, 0);
    throw error;
  }
}

function packageNamed(params: { id: string; version: string }): [PackageId, PackageVersion] {
  const id = packageId(params.id, ':id');
  const version = parsePackageVersion(params.version);
  if (version !== undefined) return [id, version];
  throw invalidField(':version', PACKAGE_VERSION_RULE, params.version, 'PACKAGE_NAME_INVALID');
}

function packageId(text: string, field: string): PackageId {
  const id = parsePackageId(text);
  if (id === undefined) throw invalidField(field, PACKAGE_ID_RULE, text, 'PACKAGE_NAME_INVALID');
  return id;
}

function blobNamed(hex: string): Sha256 {
  const digest = parseSha256(hex);
  if (digest === undefined) throw invalidField(':hex', '64 lower-case hex digits', hex, 'DIGEST_INVALID');
  return digest;
}

function blobExists(digest: Sha256): Fault {
  return new Fault('BLOB_EXISTS', `the blob sha256:${digest} exists`);
}

function headersFor({ digest }: PackagePointer): Record<string, string> {
  return { 'repr-digest': reprDigestFor(digest) };
}

function packageAnswer({ id, version, digest, size, extension, pushedAt }: PackagePointer) {
  return { id, version, digest: `sha256:${digest}`, size, extension, pushedAt };
}
