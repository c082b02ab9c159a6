// Tokens of containers: narrowed to the facilities their service asked for, revoked when the container is gone.

import { Informer, type StateStore } from '@heptad/core';
import type { CloudNativeSecurity } from '@heptad/security';

/** Facility -> what its token may do over the API. Storage may also be reached directly, with a token of its own. */
const SCOPES: Readonly<Record<string, readonly string[]>> = {
  storage: ['storage:read', 'storage:write'],
  events: ['topics:read', 'topics:write'],
  election: ['elections:read', 'elections:write'],
  telemetry: ['monitoring:write'],
};

const DESCRIPTION_PREFIX = 'container ';
/** Tokens of containers that went while no server ran are found this often. */
const SWEEP_INTERVAL_MS = 60_000;

/** Gives a container its token. */
export async function issueWorkloadToken(
  security: CloudNativeSecurity,
  request: { readonly container: string; readonly service: string; readonly facilities: readonly string[] },
): Promise<string> {
  const scopes = ['security/self:read', ...request.facilities.flatMap((facility) => SCOPES[facility] ?? [])];
  const { token } = await security.tokens.createApiToken({
    principal: { id: request.service, type: 'service', roles: ['service'] },
    description: `${DESCRIPTION_PREFIX}${request.container}`,
    scopes,
  });
  return token;
}

/** Revokes the tokens of containers that are gone, until the signal aborts. */
export async function revokeGoneWorkloads(
  store: StateStore,
  security: CloudNativeSecurity,
  sleep: (ms: number, signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  await using containers = new Informer(store, 'Container');
  await containers.ready;
  while (!signal.aborted) {
    for (const { id, description } of await security.tokens.listApiTokens()) {
      if (!description.startsWith(DESCRIPTION_PREFIX)) continue;
      if (!containers.items.has(description.slice(DESCRIPTION_PREFIX.length)))
        await security.tokens.revokeApiToken(id);
    }
    await sleep(SWEEP_INTERVAL_MS, signal).catch(() => {});
  }
}
