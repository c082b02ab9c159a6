// Backups of the state file while it is in use.

import { closeSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { backup, type DatabaseSync } from 'node:sqlite';
import { errorMessage, HeptadError } from '@heptad/core';
import { checkStateFile, syncDirectoryOf } from './sqlite-file.ts';

/** Pages (4 KiB) copied between two turns of the event loop: 1 MiB, about a millisecond. */
const PAGES_PER_STEP = 256;

/** How far a backup is. */
export interface BackupProgress {
  readonly totalPages: number;
  readonly remainingPages: number;
}

/**
 * Copies the file as of one commit to `path`, checks the copy, and only then gives it its name: an interrupted backup
 * never replaces a good one. Error: `BACKUP_FAILED`.
 */
export async function writeBackup(
  database: DatabaseSync,
  path: string,
  onProgress?: (progress: BackupProgress) => void,
): Promise<void> {
  const fresh = `${path}.new`;
  try {
    for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(`${fresh}${suffix}`, { force: true });
    await backup(database, fresh, {
      rate: PAGES_PER_STEP,
      ...(onProgress === undefined ? {} : { progress: onProgress }),
    });
    checkStateFile(fresh);
    const descriptor = openSync(fresh, 'r');
    fsyncSync(descriptor);
    closeSync(descriptor);
    renameSync(fresh, path);
    syncDirectoryOf(path);
  } catch (cause) {
    throw new HeptadError('BACKUP_FAILED', `cannot write a backup to ${path}: ${errorMessage(cause)}`, {
      cause,
      hint: 'check that the directory exists, may be written and has room for the whole file',
      details: { path },
    });
  }
}
