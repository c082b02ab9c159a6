// /monitoring, /logs, /traces, /alerts, /anomalies, and the OTLP receiver.

import { alertSpec, resourceName } from '@heptad/core';
import { monitoringHandler, parsePromql } from '@heptad/monitoring';
import { z } from 'zod';
import type { App } from '../app.ts';
import { ifRevisionOf, setEtag } from '../etag.ts';
import { page, pageQuery } from '../paging.ts';
import type { ServerParts } from '../parts.ts';

const queryParams = z.object({
  query: z.string().min(1),
  time: z.coerce.number().optional(),
  start: z.coerce.number().optional(),
  end: z.coerce.number().optional(),
  step: z.coerce.number().positive().optional(),
});

const MS_PER_SECOND = 1000;

/** Adds the routes. Times in queries are Unix seconds, as in Prometheus. */
export function monitoringRoutes(app: App, parts: ServerParts): void {
  const { monitoring } = parts;
  const read = { config: { access: { resource: 'monitoring', action: 'read' } } } as const;
  const write = { config: { access: { resource: 'monitoring', action: 'write' } } } as const;
  const nameParams = z.object({ name: resourceName });

  app.get('/api/v1/monitoring/query', { ...read, schema: { querystring: queryParams } }, async (request) => {
    const { query, time, start, end, step } = request.query;
    const data =
      start !== undefined && end !== undefined
        ? await monitoring.queryRange(
            query,
            start * MS_PER_SECOND,
            end * MS_PER_SECOND,
            (step ?? 15) * MS_PER_SECOND,
          )
        : await monitoring.query(query, time === undefined ? parts.clock.now() : time * MS_PER_SECOND);
    return { status: 'success', data };
  });
  app.get(
    '/api/v1/logs',
    {
      config: { access: { resource: 'logs', action: 'read' } },
      schema: {
        querystring: z.object({
          search: z.string().default(''),
          limit: z.coerce.number().int().min(1).max(10_000).default(100),
        }),
      },
    },
    async (request) => ({ items: monitoring.searchLogs(request.query) }),
  );
  app.get(
    '/api/v1/traces/:id',
    { ...read, schema: { params: z.object({ id: z.string().regex(/^[0-9a-f]{32}$/) }) } },
    async (request) => monitoring.correlate(request.params.id),
  );
  app.get('/api/v1/anomalies', read, async () => ({ items: await monitoring.anomalies() }));
  app.get('/api/v1/alerts', { ...read, schema: { querystring: pageQuery } }, async (request) =>
    page((await parts.resources.Alert.list()).items, request.query),
  );
  app.put(
    '/api/v1/alerts/:name',
    { ...write, schema: { params: nameParams, body: z.object({ spec: alertSpec }) } },
    async (request, reply) => {
      // A rule that cannot be read is refused here, not only told of in its status.
      parsePromql(request.body.spec.expression);
      const alert = await parts.resources.Alert.apply(
        { name: request.params.name, spec: request.body.spec },
        ifRevisionOf(request),
      );
      setEtag(reply, alert);
      return alert;
    },
  );
  app.delete('/api/v1/alerts/:name', { ...write, schema: { params: nameParams } }, async (request, reply) => {
    await parts.resources.Alert.remove(request.params.name, ifRevisionOf(request));
    return reply.status(204).send();
  });
}

/** The OTLP/HTTP receiver: `/v1/traces`, `/v1/metrics`, `/v1/logs`. Bodies are read by the handler, with its own limit. */
export function otlpRoutes(app: App, parts: ServerParts): void {
  const receive = monitoringHandler(parts.monitoring);
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null));
    for (const signal of ['traces', 'metrics', 'logs']) {
      scope.post(
        `/v1/${signal}`,
        { config: { access: { resource: 'monitoring', action: 'write' }, rawBody: true } },
        async (request, reply) => {
          reply.hijack();
          await receive(request.raw, reply.raw);
        },
      );
    }
  });
}
