// /state and /events-bus: the state store and the event bus for nodes and workloads.

import { type Decision, type Principal, resourceKey } from '@heptad/core';
import { serveEventBus } from '@heptad/mesh/events';
import { type StateAccess, serveStateStore } from '@heptad/storage/state';
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

/** Names of services that begin with this one's and a hyphen: their elections are not this one's. */
async function siblingsOf(parts: ServerParts, service: string): Promise<string[]> {
  const prefix = resourceKey('Service', 'default', '');
  const { kvs } = await parts.store.range({ key: `${prefix}${service}-`, prefix: true });
  return kvs.map(({ key }) => key.slice(prefix.length));
}

async function authorizeState(
  parts: ServerParts,
  principal: Principal,
  access: StateAccess,
): Promise<Decision> {
  const named = principal.type === 'service' && access.keys.length > 0;
  return decideStateAccess(principal, access, named ? await siblingsOf(parts, principal.id) : []);
}

/** Adds the routes. Bodies are read by the handlers themselves, with their own limits. */
export function internalRoutes(app: App, parts: ServerParts): void {
  const state = serveStateStore(parts.store, {
    path: STATE_PATH,
    authorize: (principal, access) => authorizeState(parts, principal, access),
  });
  const bus = serveEventBus(parts.bus);
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null));
    scope.all(
      `${STATE_PATH}/*`,
      { config: { access: stateAccess, rawBody: true }, schema: { hide: true } },
      async (request, reply) => {
        reply.hijack();
        const { principal } = request;
        if (principal === undefined) return;
        await state(request.raw, reply.raw, principal);
      },
    );
    scope.all(
      `${EVENT_BUS_PATH}/*`,
      { config: { access: { resource: 'topics', action: 'write' }, rawBody: true }, schema: { hide: true } },
      async (request, reply) => {
        reply.hijack();
        await bus(request.raw, reply.raw);
      },
    );
  });
}
