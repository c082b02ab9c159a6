// /events: what the platform did and why, recent and live.

import { z } from 'zod';
import type { App } from '../app.ts';
import { type ServerEvent, streamEvents } from '../events.ts';
import type { ServerParts } from '../parts.ts';

/** Keys of the orchestrator's event log: values are the events as JSON. */
const EVENT_PREFIX = '/events/default/';

/** Adds the routes. */
export function eventRoutes(app: App, parts: ServerParts): void {
  const read = { config: { access: { resource: 'events', action: 'read' } } } as const;
  app.get(
    '/api/v1/events/recent',
    {
      ...read,
      schema: { querystring: z.object({ limit: z.coerce.number().int().min(1).max(1000).default(200) }) },
    },
    async (request) => ({
      items: await parts.orchestrator.events({ limit: request.query.limit }),
    }),
  );
  app.get('/api/v1/events', read, async (request, reply) => {
    const stop = new AbortController();
    const last = request.headers['last-event-id'];
    const after = typeof last === 'string' && /^\d{1,15}$/.test(last) ? Number(last) : undefined;
    await streamEvents(reply, asServerEvents(parts, after, stop.signal), stop, parts.clock);
  });
}

/**
 * Events with the state store's revision as their id. Several events may share a revision: only the last of them carries
 * the id, so that a client that lost the connection between two gets all of them again rather than missing one.
 */
async function* asServerEvents(
  parts: ServerParts,
  after: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<ServerEvent> {
  const query = { prefix: EVENT_PREFIX, signal, ...(after === undefined ? {} : { fromRevision: after + 1 }) };
  for await (const changes of parts.store.watch(query)) {
    const puts = changes.filter((change) => change.type === 'put');
    for (const [index, change] of puts.entries()) {
      yield {
        ...(index === puts.length - 1 ? { id: String(change.revision) } : {}),
        type: 'step',
        data: JSON.parse(change.kv.value),
      };
    }
  }
}
