// SqliteEventBus: durable events in one file.

import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { Journal } from './journal.ts';
import { JournalEventBus, type JournalEventBusOptions } from './journal-bus.ts';

/** Options of a {@link SqliteEventBus}. */
export interface SqliteEventBusOptions extends JournalEventBusOptions {
  /** The file; made, with its directory, when missing. `-wal` and `-shm` files live beside it. */
  readonly path: string;
}

/**
 * An event bus in a SQLite file (WAL). A publish that resolves is on the disk (`synchronous = FULL`); publishes that
 * arrive together share one flush. Groups keep their place in the file; events whose handler failed come again after
 * 0.1 s, doubling to 30 s. One process opens the file; others reach it through `serveEventBus` and `RemoteEventBus`.
 *
 * Errors (constructor): `EVENT_LOG_IN_USE`, `EVENT_LOG_CORRUPT`, `EVENT_LOG_FORMAT`. Of `publish`: `INVALID_ARGUMENT`,
 * `EVENT_TOO_LARGE`, `TOPIC_FULL`, `BUS_CLOSED`.
 *
 * @example
 * ```ts
 * import { mkdtempSync, rmSync } from 'node:fs';
 * import { SqliteEventBus } from '@heptad/mesh/events';
 *
 * const directory = mkdtempSync('/tmp/heptad-events-');
 * const bus = new SqliteEventBus({ path: `${directory}/events.db` });
 * await bus.publish('orders.created', { key: 'order-1', data: { total: 12 } });
 * console.log((await bus.read('orders.created')).length); // 1
 * await bus.close();
 * rmSync(directory, { recursive: true });
 * ```
 */
export class SqliteEventBus extends JournalEventBus {
  constructor(options: SqliteEventBusOptions) {
    mkdirSync(dirname(options.path), { recursive: true });
    super(new Journal(options.path), options);
  }
}
