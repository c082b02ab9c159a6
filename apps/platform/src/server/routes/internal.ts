// /state and /events-bus: the state store and the event bus for nodes and workloads.

import type { Principal } from '@heptad/core';
import { serveEventBus } from '@heptad/mesh/events';
import { serveStateStore } from '@heptad/storage/state';
import type { App } from '../app.ts';
import type { ServerParts } from '../parts.ts';
import { requireKey } from '../state-access.ts';

/** Paths below which the two handlers answer. */
export const STATE_PATH = '/api/v1/state';
/** See {@link STATE_PATH}. */
export const EVENT_BUS_PATH = '/api/v1/events-bus';

/** Adds the routes. Bodies are read by the handlers themselves, with their own limits. */
export function internalRoutes(app: App, parts: ServerParts): void {
  const state = serveStateStore(parts.store, { authorize: (principal: Principal, key: string) => requireKey(principal, key) });
  const bus = serveEventBus(parts.bus);
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null));
    scope.all(`${STATE_PATH}/*`, { config: { access: { resource: 'elections', action: 'write' } }, schema: { hide: true } }, async (request, reply) => {
      reply.hijack();
      const { principal } = request;
      if (principal === undefined) return;
      request.raw.url = request.raw.url?.slice(STATE_PATH.length);
      await state(request.raw, reply.raw, principal);
    });
    scope.all(`${EVENT_BUS_PATH}/*`, { config: { access: { resource: 'topics', action: 'write' } }, schema: { hide: true } }, async (request, reply) => {
      reply.hijack();
      request.raw.url = request.raw.url?.slice(EVENT_BUS_PATH.length);
      await bus(request.raw, reply.raw);
    });
  });
}
