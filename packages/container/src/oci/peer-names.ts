// Keeps the names of a network's members in each other's /etc/hosts, many changes at once becoming one writing.

import type { ContainerId } from '@heptad/core';
import type { EngineNetwork } from '../network/engine-network.ts';

/** A listener for changes of networks; `refresh` writes the files of containers anew. */
export function keepHostsCurrent(
  refresh: (ids: readonly ContainerId[]) => Promise<void>,
): (network: EngineNetwork) => void {
  const changed = new Set<EngineNetwork>();
  let running = false;
  const work = async (): Promise<void> => {
    running = true;
    try {
      for (;;) {
        const [network] = changed;
        if (network === undefined) return;
        changed.delete(network);
        await refresh(network.members().map(({ id }) => id));
      }
    } finally {
      running = false;
    }
  };
  return (network) => {
    if (!network.listsPeers) return;
    changed.add(network);
    if (!running) void work();
  };
}
