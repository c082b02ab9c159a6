// /dr: centres, and moving from one to another. Served by every centre, primary or not.

import { z } from 'zod';
import type { App } from '../app.ts';
import { pageBy, pageQuery } from '../paging.ts';
import type { Recovery } from '../recovery.ts';

/** Adds the routes. */
export function recoveryRoutes(app: App, recovery: Recovery): void {
  const read = { config: { access: { resource: 'dr', action: 'read' } } } as const;
  const execute = { config: { access: { resource: 'dr', action: 'execute' } } } as const;

  app.get('/api/v1/dr/status', read, async () => recovery.status());
  app.get('/api/v1/dr/explain', read, async () => ({ sentences: await recovery.explain() }));
  app.post(
    '/api/v1/dr/failover',
    {
      ...execute,
      schema: { body: z.strictObject({ to: z.string().optional(), force: z.boolean().default(false) }) },
    },
    async ({ body: { to, force } }) => recovery.failover({ to, force }),
  );
  app.post('/api/v1/dr/failback', { ...execute, schema: { body: z.strictObject({}) } }, async () =>
    recovery.failback(),
  );
  app.get('/api/v1/dr/drills', { ...read, schema: { querystring: pageQuery } }, async (request) =>
    pageBy(recovery.drills(), ({ id }) => id, request.query),
  );
  app.post(
    '/api/v1/dr/drills',
    { ...execute, schema: { body: z.strictObject({}) } },
    async (_request, reply) => reply.status(202).send(recovery.startDrill()),
  );
}
