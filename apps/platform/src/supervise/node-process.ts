// What agent, proxy and storage nodes share: log, telemetry, and the state store over the server's API.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HeptadError } from '@heptad/core';
import { RemoteStateStore } from '@heptad/storage/state';
import { type Logger, pino } from 'pino';
import { type PlatformConfig, platformPaths } from '../config.ts';
import { startTelemetry } from '../telemetry/sdk.ts';

/** A node process's surroundings. */
export interface NodeProcess {
  readonly server: string;
  readonly token: string;
  readonly logger: Logger;
  readonly store: RemoteStateStore;
  readonly telemetry: { close(): Promise<void> };
}

/** The node's token: the flag, HEPTAD_TOKEN, or what the server of this machine wrote. */
export async function nodeToken(config: PlatformConfig, flag?: string): Promise<string> {
  const given = flag ?? process.env.HEPTAD_NODE_TOKEN;
  if (given !== undefined && given !== '') return given;
  const path = join(platformPaths(config.home).run, 'node.token');
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    throw new HeptadError('UNAUTHENTICATED', `this node has no token: ${path} cannot be read`, {
      cause: error,
      hint: 'start the server of this machine first, or give --token (heptad security token --role node on the server)',
    });
  }
}

/** The API server a node process talks to: the flag, HEPTAD_SERVER, or this machine's. */
export function serverOf(config: PlatformConfig, flag?: string): string {
  return flag ?? process.env.HEPTAD_SERVER ?? `http://${config.host}:${config.port}`;
}

/** Opens them. */
export async function openNodeProcess(
  config: PlatformConfig,
  service: string,
  flags: { server?: string; token?: string } = {},
): Promise<NodeProcess> {
  const server = serverOf(config, flags.server);
  const token = await nodeToken(config, flags.token);
  const logger = pino({ name: service, level: process.env.HEPTAD_LOG_LEVEL ?? 'info' });
  const otlp = new URL(server);
  otlp.port = String(config.otlpPort);
  return {
    server,
    token,
    logger,
    store: new RemoteStateStore({ url: `${server}/api/v1/state`, token }),
    telemetry: startTelemetry({ service, instance: config.nodeName, endpoint: otlp.origin, token }),
  };
}
