// Exclusion between processes: an abstract Unix socket is the lock, because the kernel frees it on any death of its holder.

import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { ContainerError, errnoOf } from '../errors.ts';
import { Mutex } from './mutex.ts';

/** A held lock. */
export interface KernelLock {
  release(): Promise<void>;
}

// The sections under these locks take milliseconds; whoever waits this long waits for a stopped process.
const MAX_WAIT_MS = 60_000;

/**
 * A name for locks of one directory. Device and inode, not the path: two paths to one directory are one place.
 * Abstract socket names are seen by processes of one network namespace only; all users of a store must share it.
 */
export async function lockName(directory: string, purpose: string): Promise<string> {
  const { dev, ino } = await stat(directory);
  const hash = createHash('sha256').update(`${dev}:${ino}:${purpose}`).digest('hex').slice(0, 40);
  return `heptad-lock-${hash}`;
}

/** Takes a lock, or answers undefined when another holder, here or in another process, has it. */
export async function tryKernelLock(name: string): Promise<KernelLock | undefined> {
  const waiting = new Set<Socket>();
  const server = createServer((socket) => {
    // Kept open: its end tells the one who waits that the lock is free, also when we are killed.
    waiting.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => waiting.delete(socket));
  });
  try {
    await listen(server, `\0${name}`);
  } catch (error) {
    if (errnoOf(error) === 'EADDRINUSE') return undefined;
    throw error;
  }
  server.unref();
  return {
    async release() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of waiting) socket.destroy();
      });
    },
  };
}

/** Sections of one name that exclude each other within this process and among processes. */
export class KernelMutex {
  private readonly name: string;
  // First within the process, where waiting is free and fair.
  private readonly local = new Mutex();

  constructor(name: string) {
    this.name = name;
  }

  /** Runs `section` alone. Throws `TIMEOUT` when another process holds the lock for a minute. */
  async run<T>(section: () => Promise<T>): Promise<T> {
    return await this.local.run(async () => {
      const lock = await this.acquire();
      try {
        return await section();
      } finally {
        await lock.release();
      }
    });
  }

  private async acquire(): Promise<KernelLock> {
    for (;;) {
      const lock = await tryKernelLock(this.name);
      if (lock !== undefined) return lock;
      await untilFreed(this.name);
    }
  }
}

/** Resolves when the present holder lets go or dies. */
async function untilFreed(lock: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ path: `\0${lock}` });
  socket.setTimeout(MAX_WAIT_MS, () => {
    socket.destroy();
    reject(
      new ContainerError('TIMEOUT', 'cannot change the image store: another process holds its lock', {
        hint: 'find the process that is stopped or hangs while it collects garbage or stores content',
        retryable: true,
        details: { lock },
      }),
    );
  });
  // Refused: it was freed between the look and the call.
  socket.on('error', () => undefined);
  socket.on('close', () => resolve());
  socket.resume();
  await promise;
}

function listen(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ path }, resolve);
  return promise;
}
