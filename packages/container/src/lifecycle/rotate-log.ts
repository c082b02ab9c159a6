// Bounds a container's log: at its size limit it is renamed to `.1`, older ones move up, the oldest goes.

import { rename, stat, unlink } from 'node:fs/promises';
import type { ContainerSpec } from '@heptad/core';
import { errnoOf } from '../errors.ts';
import { rotatedLog } from './log-chunks.ts';

/** How much log is kept. */
export interface LogBounds {
  /** Bytes of one file. */
  readonly maxBytes: number;
  readonly maxFiles: number;
}

// Docker keeps everything by default, and full disks are among its oldest complaints; 50 MiB is a useful tail.
const DEFAULT_BOUNDS: LogBounds = { maxBytes: 10 * 1024 * 1024, maxFiles: 5 };

/** The bounds of a container. */
export function logBounds(spec: ContainerSpec): LogBounds {
  return { ...DEFAULT_BOUNDS, ...spec.logs };
}

/** Rotates when the file has reached its limit; returns whether it did. The writer must then open the path anew. */
export async function rotateLog(path: string, bounds: LogBounds): Promise<boolean> {
  const size = await stat(path).then(
    (info) => info.size,
    () => 0,
  );
  if (size < bounds.maxBytes) return false;
  await ignoreMissing(unlink(rotatedLog(path, bounds.maxFiles - 1)));
  for (let index = bounds.maxFiles - 2; index >= 0; index -= 1) {
    await ignoreMissing(rename(rotatedLog(path, index), rotatedLog(path, index + 1)));
  }
  return true;
}

async function ignoreMissing(work: Promise<void>): Promise<void> {
  await work.catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}
