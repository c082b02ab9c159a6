// /quota and /chaos: sizing and testing.

import { z } from 'zod';
import type { App } from '../app.ts';
import { page, pageQuery } from '../paging.ts';
import type { ServerParts } from '../parts.ts';
import { adjustQuota } from '../quota.ts';

/** Adds the routes. */
export function operationRoutes(app: App, parts: ServerParts): void {
  const quotaRead = { config: { access: { resource: 'quota', action: 'read' } } } as const;
  const quotaWrite = { config: { access: { resource: 'quota', action: 'write' } } } as const;
  const chaosRead = { config: { access: { resource: 'chaos', action: 'read' } } } as const;
  const chaosExecute = { config: { access: { resource: 'chaos', action: 'execute' } } } as const;
  const idParams = z.object({ id: z.string() });

  app.get('/api/v1/quota', { ...quotaRead, schema: { querystring: pageQuery } }, async (request) =>
    page((await parts.resources.Quota.list()).items, request.query),
  );
  app.post(
    '/api/v1/quota/adjust',
    {
      ...quotaWrite,
      schema: {
        body: z.object({
          strategy: z.string().min(1),
          service: z.string().optional(),
          dryRun: z.boolean().default(false),
        }),
      },
    },
    async (request) => {
      const { strategy, service, dryRun } = request.body;
      return {
        adjustments: await adjustQuota(parts, {
          strategy,
          dryRun,
          ...(service === undefined ? {} : { service }),
        }),
      };
    },
  );

  app.get('/api/v1/chaos/experiments', chaosRead, async () => ({ items: parts.chaos.list() }));
  app.post(
    '/api/v1/chaos/experiments',
    { ...chaosExecute, schema: { body: z.object({ source: z.string().min(1).max(262_144) }) } },
    async (request, reply) => {
      const state = await parts.chaos.start(request.body.source);
      return reply.status(202).send(state);
    },
  );
  app.get('/api/v1/chaos/experiments/:id', { ...chaosRead, schema: { params: idParams } }, async (request) =>
    parts.chaos.get(request.params.id),
  );
  app.post('/api/v1/chaos/abort', chaosExecute, async () => parts.chaos.abort());
  app.get(
    '/api/v1/chaos/reports/:id',
    {
      ...chaosRead,
      schema: {
        params: idParams,
        querystring: z.object({ format: z.enum(['json', 'html']).default('json') }),
      },
    },
    async (request, reply) => {
      const report = await parts.chaos.report(request.params.id);
      return request.query.format === 'html'
        ? reply.type('text/html; charset=utf-8').send(report.html)
        : report.json;
    },
  );
}
