// /state and /events-bus: the state store and the event bus for nodes and workloads.

import type { Principal } from '@heptad/core';
import { serveEventBus } from '@heptad/mesh/events';
import { serveStateStore } from '@heptad/storage/state';
import type { App, ResourceAction } from '../app.ts';
import type { ServerParts } from '../parts.ts';
import { decideStateAccess } from '../state-access.ts';

/** Paths below which the two handlers answer. */
export const STATE_PATH = '/api/v1/state';
/** See {@link STATE_PATH}. */
export const EVENT_BUS_PATH = '/api/v1/events-bus';

/** Workloads have elections; the platform's own processes have the whole store. Which keys exactly is decided behind. */
const stateAccess = (principal: Principal): ResourceAction => ({
  resource: principal.type === 'service' && !principal.roles.includes('admin') ? 'elections' : 'state',
  action: 'write',
});

/** Adds the routes. Bodies are read by the handlers themselves, with their own limits. */
export function internalRoutes(app: App, parts: ServerParts): void {
  const state = serveStateStore(parts.store, { path: STATE_PATH, authorize: decideStateAccess });
  const bus = serveEventBus(parts.bus);
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null));
    scope.all(
      `${STATE_PATH}/*`,
      { config: { access: stateAccess }, schema: { hide: true } },
      async (request, reply) => {
        reply.hijack();
        const { principal } = request;
        if (principal === undefined) return;
        await state(request.raw, reply.raw, principal);
      },
    );
    scope.all(
      `${EVENT_BUS_PATH}/*`,
      { config: { access: { resource: 'topics', action: 'write' } }, schema: { hide: true } },
      async (request, reply) => {
        reply.hijack();
        await bus(request.raw, reply.raw);
      },
    );
  });
}
