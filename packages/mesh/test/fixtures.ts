// Shared by the integration tests: backends, snapshots, raw requests.

import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import type { MeshSnapshot, ServiceEndpoint } from '@heptad/core';

export const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within 30 s`);
    await wait(5);
  }
}

/** A real HTTP server on a free loopback port. */
export class Backend implements AsyncDisposable {
  readonly server: Server;
  readonly address: string;
  port = 0;
  requests = 0;

  private constructor(server: Server, address: string) {
    this.server = server;
    this.address = address;
  }

  static async start(handler: RequestListener, address = '127.0.0.1', port = 0): Promise<Backend> {
    const server = createServer((request, response) => {
      backend.requests += 1;
      handler(request, response);
    });
    const backend = new Backend(server, address);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, address, resolve);
    });
    backend.port = (server.address() as AddressInfo).port;
    return backend;
  }

  endpoint(id: string, change: Partial<ServiceEndpoint> = {}): ServiceEndpoint {
    return { id, address: this.address, ports: { http: this.port }, weight: 1, state: 'ready', ...change };
  }

  /** Breaks off all connections, as kill -9 does. */
  kill(): Promise<void> {
    return new Promise((resolve) => {
      this.server.close(() => resolve());
      this.server.closeAllConnections();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.server.listening) await this.kill();
  }
}

export async function freePort(address = '127.0.0.1'): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface Shape {
  readonly service?: string;
  readonly port: number;
  readonly address?: string;
  readonly mode?: 'http' | 'tcp';
  readonly endpoints: readonly ServiceEndpoint[];
  readonly policies?: MeshSnapshot['policies'];
  readonly rules?: MeshSnapshot['rules'];
  readonly workloads?: MeshSnapshot['workloads'];
  readonly labels?: Record<string, string>;
}

let revision = 0;
/** A snapshot of one service on one virtual address. */
export function snapshotOf(shape: Shape): MeshSnapshot {
  const service = shape.service ?? 'web';
  revision += 1;
  return {
    revision,
    services: [
      {
        name: service,
        virtualAddress: shape.address ?? '127.0.0.1',
        ports: [{ name: 'http', port: shape.port, protocol: 'TCP' }],
        labels: shape.labels ?? {},
        mode: shape.mode ?? 'http',
      },
    ],
    endpoints: [{ service, version: revision, endpoints: shape.endpoints }],
    policies: shape.policies ?? [],
    rules: shape.rules ?? [],
    workloads: shape.workloads ?? {},
  };
}

/** Sends bytes and answers everything that comes back until the other side ends (or `untilText` appears). */
export function raw(
  port: number,
  pieces: readonly string[],
  options: { untilText?: string; end?: boolean } = {},
): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    const finish = (): void => {
      clearTimeout(timeout);
      socket.destroy();
      resolve(text);
    };
    const timeout = setTimeout(finish, 5_000);
    socket.on('connect', async () => {
      for (const piece of pieces) {
        socket.write(Buffer.from(piece, 'latin1'));
        if (pieces.length > 1) await wait(10);
      }
      if (options.end) socket.end();
    });
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1');
      if (options.untilText !== undefined && text.includes(options.untilText)) finish();
    });
    socket.on('error', finish);
    socket.on('close', finish);
  });
}

/** Status codes of the responses in a raw stream. */
export function statuses(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => Number(match[1]));
}
