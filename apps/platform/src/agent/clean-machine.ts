// Removes what a platform left on this machine when nobody of it runs any more: containers, network.

import { ContainerEngine } from '@heptad/container';
import { type PlatformConfig, platformPaths } from '../config.ts';

/** The engine of a platform's home, as the agent opens it. Only one process can have it open. */
export function openEngine(config: PlatformConfig): Promise<ContainerEngine> {
  const { bridge, subnet, gateway } = config.network;
  return ContainerEngine.open({
    home: platformPaths(config.home).engine,
    runtime: config.runtime,
    network: { bridgeName: bridge, subnet, gateway, isolated: true },
  });
}

/** Removes every container of the engine; answers how many there were. Rejects with all failures at once. */
export async function removeAllContainers(engine: ContainerEngine): Promise<number> {
  const containers = await engine.runtime.list();
  const results = await Promise.allSettled(
    containers.map(({ id }) => engine.runtime.remove(id, { force: true, volumes: true })),
  );
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  if (failures.length > 0)
    throw new AggregateError(
      failures,
      `${failures.length} of ${containers.length} containers could not be removed`,
    );
  return containers.length;
}

/** Cleans up after a platform whose processes have all ended; answers how many containers were removed. */
export async function cleanMachine(config: PlatformConfig): Promise<number> {
  await using engine = await openEngine(config);
  const removed = await removeAllContainers(engine);
  await engine.network?.removeBridge();
  return removed;
}
