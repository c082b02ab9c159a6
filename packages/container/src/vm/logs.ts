// Turns what machines write into the common log, as it comes and once more when they have ended.

import { type FSWatcher, watch } from 'node:fs';
import type { Clock, ContainerId } from '@heptad/core';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { logBounds } from '../lifecycle/rotate-log.ts';
import { LogCollector } from '../process/log-collector.ts';
import { GUEST_FILES } from './machine.ts';

/**
 * QEMU writes the program's output to two files that need no reader and so outlive us; the collector of plain processes
 * makes the log of them, each byte once.
 */
export class MachineLogs {
  private readonly clock: Clock;
  private readonly directoryOf: (id: ContainerId) => string;
  private readonly open = new Map<ContainerId, { collector: LogCollector; watcher: FSWatcher | undefined }>();

  constructor(clock: Clock, directoryOf: (id: ContainerId) => string) {
    this.clock = clock;
    this.directoryOf = directoryOf;
  }

  /** Collects what is new, and from now on whatever comes. */
  async collect(record: ContainerRecord): Promise<void> {
    await this.collector(record).collect();
  }

  /** Collects the rest of a machine that has ended. */
  async finish(record: ContainerRecord): Promise<void> {
    await this.collector(record).collect(true);
    this.open.get(record.id)?.watcher?.close();
    this.open.delete(record.id);
  }

  /** Stops watching. */
  close(): void {
    for (const { watcher } of this.open.values()) watcher?.close();
    this.open.clear();
  }

  private collector(record: ContainerRecord): LogCollector {
    const known = this.open.get(record.id);
    if (known !== undefined) return known.collector;
    const directory = this.directoryOf(record.id);
    const collector = new LogCollector(directory, this.clock, logBounds(record.spec));
    let watcher: FSWatcher | undefined;
    try {
      watcher = watch(directory, { persistent: false }, (_event, name) => {
        if (name === GUEST_FILES.stdout || name === GUEST_FILES.stderr)
          collector.collect().catch(() => undefined);
      });
      watcher.on('error', () => watcher?.close());
    } catch {
      // Too many watches: the lifecycle's tending collects once a second.
    }
    this.open.set(record.id, { collector, watcher });
    return collector;
  }
}
