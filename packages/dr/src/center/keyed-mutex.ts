// Locks by name for one process: actions of one name run one after the other, those of others beside them.

import { Mutex } from './mutex.ts';

/** Serialises asynchronous actions by name. */
export class KeyedMutex {
  readonly #mutexes = new Map<string, { readonly mutex: Mutex; users: number }>();

  /** Runs `action` when all earlier ones of this name have ended, however they ended. */
  async run<T>(name: string, action: () => Promise<T>): Promise<T> {
    const entry = this.#mutexes.get(name) ?? { mutex: new Mutex(), users: 0 };
    this.#mutexes.set(name, entry);
    entry.users += 1;
    try {
      return await entry.mutex.run(action);
    } finally {
      entry.users -= 1;
      if (entry.users === 0) this.#mutexes.delete(name);
    }
  }
}
