// The public face of @heptad/mesh/events.

export { JournalEventBus, type JournalEventBusOptions } from './journal-bus.ts';
export { MemoryEventBus } from './memory.ts';
export { RemoteEventBus, type RemoteEventBusOptions } from './remote.ts';
export {
  type EventBusAccess,
  type EventBusHandler,
  type ServeEventBusOptions,
  serveEventBus,
} from './serve.ts';
export { SqliteEventBus, type SqliteEventBusOptions } from './sqlite.ts';
