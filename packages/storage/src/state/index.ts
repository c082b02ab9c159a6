// State stores: `@heptad/storage/state`.

export { Election, type ElectionOptions, type Leader, type Leadership } from '@heptad/core';
export { RemoteStateStore, type RemoteStateStoreOptions } from './remote-store.ts';
export {
  type ServeStateStoreOptions,
  type StateAccess,
  type StateStoreHandler,
  serveStateStore,
} from './serve.ts';
export type { BackupProgress } from './sqlite-backup.ts';
export { checkStateFile, restoreStateFile } from './sqlite-file.ts';
export type { HistoryOptions } from './sqlite-maintenance.ts';
export { SqliteStateStore, type SqliteStateStoreOptions } from './sqlite-store.ts';
