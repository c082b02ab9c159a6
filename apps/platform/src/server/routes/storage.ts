// /storage: objects of the replicated store, and the state of its cluster.

import { validateHeaderName, validateHeaderValue } from 'node:http';
import { CONSISTENCY_LEVELS, type GetOptions, invalidArgument, type ObjectInfo } from '@heptad/core';
import {
  CONSISTENCY_HEADER,
  formatInfoHeader,
  OBJECT_INFO_HEADER,
  OBJECT_METADATA_HEADER,
  parseMetadataHeader,
} from '@heptad/storage';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { App } from '../app.ts';
import type { ServerParts } from '../parts.ts';

const objectParams = z.object({ bucket: z.string(), '*': z.string().min(1) });
const listQuery = z.object({
  prefix: z.string().optional(),
  cursor: z.string().optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(1000),
});

/** The largest object over this API. */
const OBJECT_LIMIT_BYTES = 64 * 1024 * 1024;
const METADATA_PREFIX = 'x-heptad-meta-';

function consistencyOf(request: FastifyRequest): { consistency?: (typeof CONSISTENCY_LEVELS)[number] } {
  const header = request.headers[CONSISTENCY_HEADER];
  if (header === undefined) return {};
  const level = CONSISTENCY_LEVELS.find((one) => one === header);
  if (level === undefined)
    throw invalidArgument(
      `x-heptad-consistency "${String(header)}" is not known`,
      `use one of ${CONSISTENCY_LEVELS.join(', ')}`,
    );
  return { consistency: level };
}

function conditionsOf(request: FastifyRequest): { ifMatch?: string; ifNoneMatch?: '*' } {
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = request.headers;
  return {
    ...(ifMatch === undefined ? {} : { ifMatch: ifMatch.replace(/^"|"$/g, '') }),
    ...(ifNoneMatch === '*' ? { ifNoneMatch: '*' as const } : {}),
  };
}

function rangeOf(request: FastifyRequest): Pick<GetOptions, 'range'> {
  const header = request.headers.range;
  if (header === undefined) return {};
  const [, start, end] = /^bytes=(\d+)-(\d*)$/.exec(header) ?? [];
  if (start === undefined)
    throw invalidArgument(`range "${header}" is not known`, 'use bytes=FIRST-LAST or bytes=FIRST-');
  return { range: { start: Number(start), ...(end === '' ? {} : { end: Number(end) }) } };
}

function metadataOf(request: FastifyRequest): Record<string, string> {
  const exact = request.headers[OBJECT_METADATA_HEADER];
  if (typeof exact === 'string') {
    try {
      return parseMetadataHeader(exact);
    } catch {
      throw invalidArgument(
        `header ${OBJECT_METADATA_HEADER} cannot be read`,
        'give percent-encoded JSON of names and texts',
      );
    }
  }
  const entries = Object.entries(request.headers).filter(([name]) => name.startsWith(METADATA_PREFIX));
  return Object.fromEntries(
    entries.map(([name, value]) => [name.slice(METADATA_PREFIX.length), String(value)]),
  );
}

/** Metadata may be any text; what no header can hold is only in {@link OBJECT_INFO_HEADER}. */
function fitsHeader(name: string, value: string): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}

function setObjectHeaders(reply: FastifyReply, info: ObjectInfo): void {
  reply.header(OBJECT_INFO_HEADER, formatInfoHeader(info));
  reply.header('etag', `"${info.etag}"`);
  reply.header('x-heptad-sha256', info.sha256);
  reply.header('last-modified', new Date(info.lastModified).toUTCString());
  for (const [name, value] of Object.entries(info.metadata)) {
    const header = `${METADATA_PREFIX}${name}`;
    if (fitsHeader(header, value)) reply.header(header, value);
  }
}

/** Adds the routes. */
export function storageRoutes(app: App, parts: ServerParts): void {
  const read = { config: { access: { resource: 'storage', action: 'read' } } } as const;
  const write = { config: { access: { resource: 'storage', action: 'write' } } } as const;

  app.get(
    '/api/v1/storage',
    { config: { access: { resource: 'storage-status', action: 'read' } } },
    async () => parts.storage.status(),
  );
  app.post(
    '/api/v1/storage/repair',
    { config: { access: { resource: 'storage-status', action: 'execute' } } },
    async () => parts.storage.repair(),
  );
  app.get(
    '/api/v1/storage/:bucket',
    { ...read, schema: { params: z.object({ bucket: z.string() }), querystring: listQuery } },
    async (request) => {
      const { prefix, cursor, limit } = request.query;
      const items: ObjectInfo[] = [];
      for await (const info of parts.storage.objects().list(request.params.bucket, {
        limit,
        ...(prefix === undefined ? {} : { prefix }),
        ...(cursor === undefined ? {} : { after: cursor }),
      }))
        items.push(info);
      const last = items.length === limit ? items.at(-1) : undefined;
      return last === undefined ? { items } : { items, nextCursor: last.key };
    },
  );
  app.register(async (scope) => {
    // Objects are bytes: no content type is parsed here, and the limit is the object's, not a JSON body's.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(
      '*',
      { parseAs: 'buffer', bodyLimit: OBJECT_LIMIT_BYTES },
      (_request, body, done) => done(null, body),
    );
    const objects = scope.withTypeProvider<import('fastify-type-provider-zod').ZodTypeProvider>();
    objects.put(
      '/api/v1/storage/:bucket/*',
      { ...write, bodyLimit: OBJECT_LIMIT_BYTES, schema: { params: objectParams } },
      async (request, reply) => {
        const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
        const info = await parts.storage.objects().put(request.params.bucket, request.params['*'], body, {
          ...consistencyOf(request),
          ...conditionsOf(request),
          metadata: metadataOf(request),
        });
        setObjectHeaders(reply, info);
        return info;
      },
    );
    objects.get(
      '/api/v1/storage/:bucket/*',
      { ...read, exposeHeadRoute: false, schema: { params: objectParams } },
      async (request, reply) => {
        const { bucket, '*': key } = request.params;
        const { range } = rangeOf(request);
        const { info, body } = await parts.storage.objects().get(bucket, key, {
          ...consistencyOf(request),
          ...(range === undefined ? {} : { range }),
        });
        setObjectHeaders(reply, info);
        if (range !== undefined) {
          const last = range.start + body.length - 1;
          reply.status(206).header('content-range', `bytes ${range.start}-${last}/${info.sizeBytes}`);
        }
        return reply
          .type('application/octet-stream')
          .send(Buffer.from(body.buffer, body.byteOffset, body.byteLength));
      },
    );
    objects.head(
      '/api/v1/storage/:bucket/*',
      { ...read, schema: { params: objectParams } },
      async (request, reply) => {
        const info = await parts.storage
          .objects()
          .head(request.params.bucket, request.params['*'], consistencyOf(request));
        setObjectHeaders(reply, info);
        reply.header('content-length', String(info.sizeBytes));
        return reply.send();
      },
    );
    objects.delete(
      '/api/v1/storage/:bucket/*',
      { ...write, schema: { params: objectParams } },
      async (request, reply) => {
        await parts.storage.objects().delete(request.params.bucket, request.params['*'], {
          ...consistencyOf(request),
          ...conditionsOf(request),
        });
        return reply.status(204).send();
      },
    );
  });
}
