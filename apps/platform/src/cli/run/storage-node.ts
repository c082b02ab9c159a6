// `heptad storage-node`.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { StorageNode } from '@heptad/storage';
import { pino } from 'pino';
import { configFromEnvironment, platformPaths } from '../../config.ts';
import { runUntilSignal } from '../../supervise/shutdown.ts';

/** File with the secret that storage nodes and their clients share. */
export function storageTokenPath(home: string): string {
  return join(platformPaths(home).run, 'storage.token');
}

/** Runs one storage node until a signal. It needs nothing but its disk: servers may be down. */
export async function storageNode(options: { id: string; host: string; port: number }): Promise<void> {
  const config = configFromEnvironment();
  const logger = pino({ name: `heptad-${options.id}`, level: process.env.HEPTAD_LOG_LEVEL ?? 'info' });
  await runUntilSignal(async () => {
    const token = (await readFile(storageTokenPath(config.home), 'utf8')).trim();
    const node = await StorageNode.start({
      id: options.id,
      directory: platformPaths(config.home).storage(options.id),
      capacityBytes: config.storage.capacityBytes,
      host: options.host,
      port: options.port,
      token,
    });
    logger.info({ address: node.address }, 'storage node serves');
    return { [Symbol.asyncDispose]: () => node.close() };
  });
}
