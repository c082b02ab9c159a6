// A runtime's home directory: one owner at a time, its containers, its events.

import { join } from 'node:path';
import { ensureDirectory } from '../system/files.ts';
import { type HomeLock, lockHome } from '../system/home-lock.ts';
import { currentBootId } from '../system/processes.ts';
import { ContainerDirectory } from './container-directory.ts';
import { EventLog } from './event-log.ts';

/** A locked and read home directory. */
export interface OpenedHome {
  readonly lock: HomeLock;
  readonly containers: ContainerDirectory;
  readonly events: EventLog;
  readonly bootId: string;
}

/** Locks `home` and reads the containers in it. Throws `HOME_IN_USE`. */
export async function openHome(home: string): Promise<OpenedHome> {
  await ensureDirectory(home);
  const lock = await lockHome(home);
  try {
    const containers = await ContainerDirectory.open(join(home, 'containers'));
    const events = await EventLog.open(join(home, 'events.jsonl'));
    return { lock, containers, events, bootId: await currentBootId() };
  } catch (error) {
    await lock[Symbol.asyncDispose]();
    throw error;
  }
}
