// What the platform gives a container that asks for facilities: addresses as variables, tokens as files in memory.

import type { ContainerResource } from '@heptad/core';
import type { ContainerServices } from '@heptad/orchestrator';
import { ApiClient } from '../client/api-client.ts';
import type { PlatformConfig } from '../config.ts';
import { SYSTEM_PORTS, SYSTEM_SERVICE } from '../server/system-service.ts';

/** Where facilities are. */
export interface FacilityOptions {
  readonly config: PlatformConfig;
  readonly server: string;
  /** The node's token. */
  readonly token: string;
  /** How workloads reach objects: the nodes themselves, or, at one of several centres, the server, which replicates. */
  readonly storage: { readonly nodes: readonly string[]; readonly token: string } | 'server';
  /** Containers find the platform by name through the mesh; plain processes at its own address. */
  readonly isolated: boolean;
}

const TOKEN_FILE = '/run/heptad/token';
const STORAGE_TOKEN_FILE = '/run/heptad/storage-token';
/** Readable by whatever user the container runs as: the file is in that container's memory only. */
const TOKEN_MODE = 0o444;

/** The hooks of a node's agent. */
export function facilityHooks(options: FacilityOptions): ContainerServices {
  const client = new ApiClient({ server: options.server, token: options.token });
  const { isolated, config, storage } = options;
  const api = isolated ? `http://${SYSTEM_SERVICE}:${SYSTEM_PORTS.api}` : options.server;
  const otlp = isolated
    ? `http://${SYSTEM_SERVICE}:${SYSTEM_PORTS.otlp}`
    : `http://${config.host}:${config.otlpPort}`;
  return {
    async environment(container: ContainerResource) {
      const { facilities } = container.spec.template;
      const environment: Record<string, string> = { HEPTAD_REPLICA: container.name };
      if (facilities.length === 0) return environment;
      environment.HEPTAD_SERVER = api;
      environment.HEPTAD_TOKEN_FILE = TOKEN_FILE;
      if (facilities.includes('storage')) {
        if (storage === 'server') environment.HEPTAD_STORAGE_URL = `${api}/api/v1/storage`;
        else {
          environment.HEPTAD_STORAGE_NODES = storage.nodes.join(',');
          environment.HEPTAD_STORAGE_TOKEN_FILE = STORAGE_TOKEN_FILE;
        }
      }
      if (facilities.includes('telemetry')) environment.OTEL_EXPORTER_OTLP_ENDPOINT = otlp;
      return environment;
    },
    async secrets(container: ContainerResource) {
      const { facilities } = container.spec.template;
      if (facilities.length === 0) return {};
      const { token } = await client.json<{ token: string }>(
        'POST',
        `/api/v1/nodes/${config.nodeName}/workload-tokens`,
        {
          container: container.name,
          service: container.spec.service,
          facilities,
        },
      );
      const files = [{ target: TOKEN_FILE, content: token, mode: TOKEN_MODE }];
      if (facilities.includes('storage') && storage !== 'server')
        files.push({ target: STORAGE_TOKEN_FILE, content: storage.token, mode: TOKEN_MODE });
      return { files };
    },
  };
}
