// Where a microservice listens, and what it tells others of it.

import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { errorMessage, HeptadError, invalidArgument } from '@heptad/core';

/** Listens; the port it got. Errors: `PORT_IN_USE`, `LISTEN_FAILED`. */
export function listen(server: Server, host: string, port: number, name: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const inUse = error.code === 'EADDRINUSE';
      const why = inUse ? 'the port is in use' : errorMessage(error);
      reject(
        new HeptadError(
          inUse ? 'PORT_IN_USE' : 'LISTEN_FAILED',
          `${name} cannot listen on ${host}:${port}: ${why}`,
          {
            cause: error,
            details: { host, port },
            ...(inUse
              ? { hint: `find its owner with \`ss -ltnp 'sport = :${port}'\`, or choose another port` }
              : {}),
          },
        ),
      );
    });
    server.listen({ host, port }, () => resolve(addressOf(server).port));
  });
}

function addressOf(server: Server): AddressInfo {
  const address = server.address();
  if (typeof address === 'object' && address !== null) return address;
  throw new HeptadError('LISTEN_FAILED', 'the server has no address');
}

/** Port of an environment variable's text; 0 (any) without one. Errors: `INVALID_ARGUMENT`. */
export function portOf(text: string | undefined): number {
  if (text === undefined || text === '') return 0;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535)) throw invalidArgument(`environment variable PORT is "${text}", not a port number`);
  return port;
}

/** Whether it means all addresses of the machine. */
export function isAnyAddress(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

/** This machine's first IPv4 address that others can reach. */
export function outwardAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((entries) => entries ?? []);
  return all.find((entry) => entry.family === 'IPv4' && !entry.internal)?.address ?? '127.0.0.1';
}
