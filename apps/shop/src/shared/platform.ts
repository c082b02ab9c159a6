// The platform's facilities, as its environment variables describe them.

import { readFileSync } from 'node:fs';
import { type EventBus, errorMessage, type ObjectStore, type StateStore } from '@heptad/core';
import { RemoteEventBus } from '@heptad/mesh/events';
import { DistributedStorage, RemoteObjectStore } from '@heptad/storage';
import { RemoteStateStore } from '@heptad/storage/state';
import type { Logger } from './log.ts';

/** Objects, state and events of the platform. Each can be away for a while; callers keep working as far as they can. */
export interface Platform {
  readonly storage: ObjectStore;
  readonly state: StateStore;
  readonly events: EventBus;
  close(): Promise<void>;
}

/** Whoever publishes comes back to it later; a service that is leaving must not wait long for a bus that is away. */
const PUBLISH_TIMEOUT_MS = 3_000;

/**
 * Opens the facilities: state and events through the platform's server; objects from the storage nodes directly, which works
 * while the server is away, or through the server where it replicates them to other centres.
 */
export function openPlatform(service: string, log: Logger): Platform {
  const server = required('HEPTAD_SERVER', 'facilities: [events]').replace(/\/+$/, '');
  const tokenFile = required('HEPTAD_TOKEN_FILE', 'facilities: [events]');
  // The platform renews the token by replacing the file, so it is read for every request.
  const token = (): string => readSecret(tokenFile);
  const state = new RemoteStateStore({ url: `${server}/api/v1/state`, token });
  const events = new RemoteEventBus({
    url: `${server}/api/v1/events-bus`,
    token,
    publishTimeoutMs: PUBLISH_TIMEOUT_MS,
    onError: (error) => log.warn('event bus', { error: errorMessage(error) }),
  });
  const storage = openObjects(service, state, token);
  return {
    storage,
    state,
    events,
    close: async () => {
      await Promise.allSettled([
        storage[Symbol.asyncDispose](),
        events[Symbol.asyncDispose](),
        state[Symbol.asyncDispose](),
      ]);
    },
  };
}

function openObjects(service: string, state: StateStore, token: () => string): ObjectStore {
  const url = process.env.HEPTAD_STORAGE_URL;
  if (url !== undefined && url !== '') return new RemoteObjectStore({ url, token });
  return new DistributedStorage({
    seeds: required('HEPTAD_STORAGE_NODES', 'facilities: [storage]').split(',').filter(Boolean),
    token: readSecret(required('HEPTAD_STORAGE_TOKEN_FILE', 'facilities: [storage]')),
    stateStore: state,
    // A service may write its own keys of the state store alone.
    guardPrefix: `/apps/${service}/storage-guards/`,
  });
}

function readSecret(path: string): string {
  return readFileSync(path, 'utf8').trim();
}

function required(name: string, how: string): string {
  const value = process.env[name];
  if (value !== undefined && value !== '') return value;
  throw new Error(
    `environment variable ${name} is not set: the platform sets it for a service with "x-heptad: { ${how} }"`,
  );
}
