// One centre in a process of its own, on a durable store, to be killed, frozen and restarted.

import { isHeptadError, type StateStore } from '@heptad/core';
import { DisasterRecovery, type TopologyInput } from '@heptad/dr';

interface Task {
  readonly topology: TopologyInput;
  readonly self: string;
  readonly storePath: string;
  /** The module of the durable store: wired by whoever starts centres, as the platform does. */
  readonly storeModule: string;
}

interface StoreModule {
  readonly SqliteStateStore: new (options: { path: string }) => StateStore;
}

const task = JSON.parse(process.argv[2] ?? '{}') as Task;
const { SqliteStateStore } = (await import(task.storeModule)) as StoreModule;
try {
  const center = await DisasterRecovery.start({
    topology: task.topology,
    self: task.self,
    store: new SqliteStateStore({ path: task.storePath }),
    secret: 'test',
  });
  center.onEvent((event) => process.stdout.write(`${JSON.stringify(event)}\n`));
  process.on('message', (to) => {
    center.switchover(String(to)).then(
      () => process.send?.('done'),
      (error: unknown) => process.send?.(String(error)),
    );
  });
  process.stdout.write(`${JSON.stringify({ kind: 'started', message: center.address })}\n`);
} catch (error) {
  process.stderr.write(`${isHeptadError(error) ? JSON.stringify(error) : String(error)}\n`);
  process.exit(1);
}
