// Which ports of the host lead into a container, in Docker's words; ports left open are chosen here.

import { createServer } from 'node:net';
import type { PublishedPort } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { CreateRequest } from './create-request.ts';

const LOCAL = '127.0.0.1';
const MAX_PORT = 65_535;

/** The published ports of a request; `exposed` are the image's. */
export async function planPorts(
  request: CreateRequest,
  exposed: readonly string[],
): Promise<PublishedPort[]> {
  const host = request.HostConfig;
  const ports: PublishedPort[] = [];
  const taken = new Set<number>();
  const add = async (key: string, hostIp: string, hostPort: string): Promise<void> => {
    const { port, protocol } = parsePortKey(key);
    const address = hostIp === '' ? LOCAL : hostIp;
    const chosen = hostPort === '' || hostPort === '0' ? await freePort(address, taken) : parsePort(hostPort);
    taken.add(chosen);
    ports.push({ hostAddress: address, hostPort: chosen, containerPort: port, protocol });
  };
  for (const [key, bindings] of Object.entries(host?.PortBindings ?? {})) {
    for (const binding of bindings ?? []) await add(key, binding.HostIp ?? '', binding.HostPort ?? '');
    if (bindings !== null && bindings.length === 0) await add(key, '', '');
  }
  if (host?.PublishAllPorts === true) {
    const bound = Object.keys(host.PortBindings ?? {});
    const all = new Set([...exposed, ...Object.keys(request.ExposedPorts ?? {})]);
    for (const key of all) if (!bound.includes(key)) await add(key, '', '');
  }
  return ports;
}

/** `8080/tcp`. Throws `INVALID_ARGUMENT`. */
export function parsePortKey(key: string): { port: number; protocol: 'TCP' | 'UDP' } {
  const [number = '', protocol = 'tcp'] = key.split('/');
  if (protocol !== 'tcp' && protocol !== 'udp') {
    throw new ContainerError('NOT_SUPPORTED', `cannot publish ${key}: only tcp and udp are supported`);
  }
  return { port: parsePort(number), protocol: protocol === 'udp' ? 'UDP' : 'TCP' };
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port >= 1 && port <= MAX_PORT) return port;
  throw new ContainerError('INVALID_ARGUMENT', `"${text}" is not a port`, {
    hint: 'ports are numbers from 1 to 65535; ranges are expanded by the client',
  });
}

/** A port that nobody listens on now. Another program may still be quicker; then the creation says so. */
async function freePort(address: string, taken: ReadonlySet<number>): Promise<number> {
  for (;;) {
    const port = await new Promise<number>((resolve, reject) => {
      const server = createServer();
      server.once('error', reject);
      server.listen(0, address, () => {
        const bound = server.address();
        server.close(() => resolve(typeof bound === 'object' && bound !== null ? bound.port : 0));
      });
    });
    if (!taken.has(port)) return port;
  }
}
