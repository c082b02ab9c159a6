// What the state store still says of containers that do not run any more, after a clean stop or a reboot, is corrected
// before anybody is told that this node is ready.

import { type ContainerRuntime, Resources, type StateStore } from '@heptad/core';

/** Marks this node's containers that the runtime does not have running as not ready, and their endpoints too. */
export async function forgetStale(store: StateStore, runtime: ContainerRuntime, node: string): Promise<void> {
  const running = new Set(
    (await runtime.list({ states: ['running', 'paused'] })).map((container) => container.name),
  );
  const containers = new Resources(store, 'Container');
  const endpoints = new Resources(store, 'Endpoint');
  const gone = new Set<string>();
  for (const { name, spec, status } of (await containers.list()).items) {
    if (spec.node !== node || running.has(name) || !(status.ready || status.status === 'Running')) continue;
    gone.add(status.address ?? '');
    await containers.updateStatus(name, ({ status: current }) => {
      const { readySince: _since, address: _address, ...rest } = current;
      return {
        ...rest,
        status: 'Pending',
        ready: false,
        message: 'not running since the node was last stopped; being started again',
      };
    });
  }
  for (const { name, spec, status } of (await endpoints.list()).items) {
    if (spec.node !== node || status.state === 'unready' || !gone.has(spec.address)) continue;
    await endpoints.updateStatus(name, () => ({ state: 'unready' }));
  }
}
