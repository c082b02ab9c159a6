// One process owns one home directory: an abstract Unix socket is the lock, because the kernel frees it on any death.

import { createHash } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { ContainerError, errnoOf } from '../errors.ts';

/** A held lock. */
export interface HomeLock extends AsyncDisposable {
  readonly directory: string;
}

/**
 * Takes the exclusive right to run containers in `directory`. Throws `HOME_IN_USE` when another process has it.
 * A file lock would outlive a kill -9 of its owner; an abstract socket name does not.
 */
export async function lockHome(directory: string): Promise<HomeLock> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // Device and inode, not the path: two paths to one directory are one home.
  const { dev, ino } = await stat(directory);
  const name = createHash('sha256').update(`${dev}:${ino}`).digest('hex').slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  await listen(server, `\0heptad-home-${name}`).catch((cause: unknown) => {
    if (errnoOf(cause) !== 'EADDRINUSE') throw cause;
    throw new ContainerError(
      'HOME_IN_USE',
      `cannot open ${directory}: another process runs containers there`,
      {
        cause,
        hint: 'stop that process, or give this one another home directory',
        details: { directory },
      },
    );
  });
  server.unref();
  return {
    directory,
    async [Symbol.asyncDispose]() {
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function listen(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ path }, resolve);
  return promise;
}
