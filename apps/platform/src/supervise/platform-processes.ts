// The processes of a one-machine platform: `up` keeps server and agent; the agent keeps proxy and storage nodes.

import { join } from 'node:path';
import { environmentOf, type PlatformConfig, platformPaths } from '../config.ts';
import { type KeeperListener, ProcessKeeper } from './process-keeper.ts';
import { selfCommand } from './self.ts';

/** A keeper of one part of the platform, with its log and pid file in their places. */
export function keeperOf(
  config: PlatformConfig,
  name: string,
  words: readonly string[],
  extra: Record<string, string>,
  onEvent: KeeperListener,
): ProcessKeeper {
  const paths = platformPaths(config.home);
  return new ProcessKeeper(
    {
      name,
      ...selfCommand(words),
      environment: { ...environmentOf(config), ...extra },
      logFile: join(paths.logs, `${name}.log`),
      pidFile: join(paths.run, `${name}.pid`),
    },
    { onEvent },
  );
}

/** Names of the storage nodes of this machine. */
export function storageNodeIds(config: PlatformConfig): string[] {
  return Array.from({ length: config.storage.nodes }, (_, index) => `storage-${index + 1}`);
}

/** The storage nodes of this machine and where they listen: on the containers' bridge, or with plain processes on loopback. */
export function storageNodesOf(config: PlatformConfig): { id: string; port: number; address: string }[] {
  const host = config.runtime === 'process' ? '127.0.0.1' : config.network.gateway;
  return storageNodeIds(config).map((id, index) => {
    const port = config.storage.basePort + index;
    return { id, port, address: `${host}:${port}` };
  });
}

/** Every part that may have a pid file, in the order they should end. */
export function partNames(config: PlatformConfig): string[] {
  return ['up', 'agent', 'proxy', ...storageNodeIds(config), 'server'];
}
