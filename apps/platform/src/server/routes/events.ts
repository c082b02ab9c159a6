// /events: what the platform did and why, recent and live.

import { isHeptadError } from '@heptad/core';
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
    const { revision } = await parts.store.range({ key: EVENT_PREFIX });
    const after = positionOf(request.headers['last-event-id'], revision) ?? { revision, index: ALL };
    await streamEvents(reply, asServerEvents(parts, after, stop.signal), stop, parts.clock, idOf(after));
  });
}

/** A place in the stream: the state store's revision, and which of its events. */
interface Position {
  readonly revision: number;
  readonly index: number;
}

/** Stands for the last event of a revision, however many it has. */
const ALL = 9_999;

function idOf({ revision, index }: Position): string {
  return `${revision}.${index}`;
}

/** The place a client was at; undefined when it says none, or one that this store has not reached. */
function positionOf(header: string | string[] | undefined, now: number): Position | undefined {
  const match = /^(\d{1,15})(?:\.(\d{1,4}))?$/.exec(String(header));
  if (match === null || Number(match[1]) > now) return undefined;
  return { revision: Number(match[1]), index: match[2] === undefined ? ALL : Number(match[2]) };
}

/** Every event with its place as its id, so that a client that was cut off between two misses none and sees none twice. */
async function* asServerEvents(
  parts: ServerParts,
  after: Position,
  signal: AbortSignal,
): AsyncGenerator<ServerEvent> {
  let from = after.revision;
  for (;;) {
    try {
      for await (const changes of parts.store.watch({
        prefix: EVENT_PREFIX,
        signal,
        fromRevision: Math.max(1, from),
      })) {
        const puts = changes.filter((change) => change.type === 'put');
        for (const [index, { revision, kv }] of puts.entries()) {
          if (revision === after.revision && index <= after.index) continue;
          yield { id: idOf({ revision, index }), type: 'step', data: JSON.parse(kv.value) };
        }
      }
      return;
    } catch (error) {
      if (!isHeptadError(error, 'COMPACTED')) throw error;
      // What was forgotten cannot be told any more: say so, and go on with what is left.
      from = Number(error.details.compactRevision);
      const message = `events before revision ${from} are no longer kept`;
      yield { id: idOf({ revision: from - 1, index: ALL }), type: 'gap', data: { message } };
    }
  }
}
