import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { healthCheck, systemClock } from '@heptad/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChildProcessRuntime } from '../../test/child-process-runtime.ts';
import { runProbe } from './probe.ts';

let server: Server;
let port: number;
const runtime = new ChildProcessRuntime({ sleeper: 'setInterval(() => {}, 1000)' });
let runtimeId: string;

beforeAll(async () => {
  server = createServer((request, response) => {
    if (request.url === '/slow') return;
    response.statusCode = request.url === '/health' ? 204 : 503;
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
  runtimeId = await runtime.create({ name: 'sleeper', image: 'sleeper' });
  await runtime.start(runtimeId);
});

afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await runtime[Symbol.asyncDispose]();
});

function probe(check: object, address: string | undefined = '127.0.0.1') {
  const target = { runtime, runtimeId, address, clock: systemClock };
  return runProbe(healthCheck.parse(check), target, new AbortController().signal);
}

describe('runProbe', () => {
  it('asks by HTTP', async () => {
    expect(await probe({ http: { path: '/health', port } })).toMatchObject({ healthy: true });
    expect(await probe({ http: { path: '/no', port } })).toEqual({
      healthy: false,
      message: `GET /no on port ${port} answered 503`,
    });
  });

  it('gives up at the timeout', async () => {
    expect(await probe({ http: { path: '/slow', port }, timeoutMs: 60 })).toEqual({
      healthy: false,
      message: `GET /slow on port ${port} did not answer within 60 ms`,
    });
  });

  it('asks by TCP', async () => {
    expect(await probe({ tcp: { port } })).toMatchObject({ healthy: true });
    const closed = await probe({ tcp: { port: 1 } });
    expect(closed.healthy).toBe(false);
    expect(closed.message).toContain('port 1: connect ECONNREFUSED');
  });

  it('asks by a command inside, and shows what it said', async () => {
    expect(await probe({ command: ['true'] })).toMatchObject({ healthy: true });
    expect(await probe({ command: ['sh', '-c', 'echo down; exit 4'] })).toEqual({
      healthy: false,
      message: '"sh -c echo down; exit 4" ended with exit code 4: down',
    });
  });

  it('kills a command that hangs', async () => {
    expect(await probe({ command: ['sleep', '60'], timeoutMs: 80 })).toMatchObject({ healthy: false });
  });

  it('says so when there is no address to ask', async () => {
    const target = { runtime, runtimeId, address: undefined, clock: systemClock };
    const check = healthCheck.parse({ tcp: { port } });
    const result = await runProbe(check, target, new AbortController().signal);
    expect(result).toEqual({ healthy: false, message: 'the container has no address to probe' });
  });
});
