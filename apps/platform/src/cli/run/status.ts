// `heptad status`: is the platform well, in a few lines.

import type { NodeResource, ServiceResource } from '@heptad/core';
import type { Command } from 'commander';
import { isReady } from '../../deploy/apply.ts';
import { contextOf } from '../context.ts';
import { EXIT, printJson } from '../output.ts';
import { listAll } from './inspect.ts';
import type { StorageStatus } from './storage.ts';

/** Runs `heptad status`; exit code 1 when something is not well. */
export async function status(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const [nodes, services, storage] = await Promise.all([
    listAll<NodeResource>(client, '/api/v1/nodes'),
    listAll<ServiceResource>(client, '/api/v1/services'),
    client.json<StorageStatus>('GET', '/api/v1/storage'),
  ]);
  const readyNodes = nodes.filter((node) => node.status.status === 'Ready').length;
  const unready = services.filter((service) => !isReady(service)).map((service) => service.name);
  const storageUp = storage.nodes.filter((node) => node.state === 'up').length;
  const well = readyNodes === nodes.length && unready.length === 0 && storageUp === storage.nodes.length;
  if (json)
    printJson({
      well,
      nodes: { ready: readyNodes, total: nodes.length },
      services: { total: services.length, unready },
      storage,
    });
  else {
    process.stdout.write(`nodes     ${readyNodes}/${nodes.length} ready\n`);
    process.stdout.write(
      `services  ${services.length - unready.length}/${services.length} ready${unready.length > 0 ? `; not: ${unready.join(', ')}` : ''}\n`,
    );
    process.stdout.write(`storage   ${storageUp}/${storage.nodes.length} nodes up; ${storage.message}\n`);
    process.stdout.write(well ? 'all is well\n' : 'not all is well\n');
  }
  if (!well) process.exitCode = EXIT.error;
}
