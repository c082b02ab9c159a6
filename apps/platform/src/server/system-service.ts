// The platform's API as a service of its own mesh: containers reach it at http://heptad:7070.

import { Resources, type StateStore } from '@heptad/core';
import type { ContainerOrchestrator } from '@heptad/orchestrator';
import type { PlatformConfig } from '../config.ts';

/** Name under which containers find the platform. */
export const SYSTEM_SERVICE = 'heptad';
/** Ports of the service, the same on every platform whatever the host's ports are. */
export const SYSTEM_PORTS = { api: 7070, otlp: 4318 } as const;
/** Marks resources that belong to the platform itself. */
export const SYSTEM_LABEL = 'heptad.io/system';

/** Declares the service (it runs nothing) and its one endpoint, this server. */
export async function declareSystemService(
  store: StateStore,
  orchestrator: ContainerOrchestrator,
  config: PlatformConfig,
): Promise<void> {
  await orchestrator.deploy(
    SYSTEM_SERVICE,
    {
      image: 'heptad',
      replicas: 0,
      resources: { requests: { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 }, limits: {} },
      ports: [
        { name: 'api', port: SYSTEM_PORTS.api },
        { name: 'otlp', port: SYSTEM_PORTS.otlp },
      ],
      environment: {},
      dependencies: [],
      labels: {},
      volumes: [],
    },
    { labels: { [SYSTEM_LABEL]: 'true' }, allowZeroReplicas: true },
  );
  await new Resources(store, 'Endpoint').apply({
    name: SYSTEM_SERVICE,
    labels: { [SYSTEM_LABEL]: 'true' },
    spec: {
      service: SYSTEM_SERVICE,
      address: config.host,
      ports: { api: config.port, otlp: config.otlpPort },
    },
    status: { state: 'ready' },
  });
}
