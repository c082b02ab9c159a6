// MemoryEventBus: the same bus without a file, for tests and programs that need no durability.

import { Journal } from './journal.ts';
import { JournalEventBus, type JournalEventBusOptions } from './journal-bus.ts';

/**
 * The same semantics as `SqliteEventBus`, held in memory (an in-memory SQLite database) and gone with the process.
 *
 * @example
 * ```ts
 * import { MemoryEventBus } from '@heptad/mesh/events';
 *
 * await using bus = new MemoryEventBus();
 * console.log(await bus.publish('greetings', { data: 'hello' })); // 1
 * ```
 */
export class MemoryEventBus extends JournalEventBus {
  constructor(options: JournalEventBusOptions = {}) {
    super(new Journal(':memory:'), options);
  }
}
