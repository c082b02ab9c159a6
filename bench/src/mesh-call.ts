// One service calls another with 1 KiB answers: through the node proxy, nginx and HAProxy, and in process by MeshClient.

import { execFile } from 'node:child_process';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MemoryStateStore } from '@heptad/core';
import { MeshClient, ServiceRegistry } from '@heptad/mesh';
import { type Benchmark, type BenchmarkOptions, type Contender, compare, type Results } from './harness.ts';
import { cpuMicros, freePort, type Server, startHaproxy, startNginx, startNode } from './mesh-call/peers.ts';

const execute = promisify(execFile);
const CONNECTIONS = 32;
const BODY_BYTES = 1_024;

/** What one turn of load did. */
interface Load {
  readonly requests: number;
  readonly perSecond: number;
}

/** wrk for some seconds; throws when an answer failed or was not the whole body. */
async function load(url: string, connections: number, seconds: number): Promise<Load> {
  const { stdout } = await execute('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, url]);
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1]);
  const perSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
  if (/Non-2xx|Socket errors/.test(stdout) || !(requests > 0))
    throw new Error(`load on ${url} failed:\n${stdout}`);
  return { requests, perSecond };
}

async function served(backend: Server): Promise<number> {
  return Number(await (await fetch(`http://127.0.0.1:${backend.port}/count`)).text());
}

/** Every answer must have come from the backend, whole. */
async function checked(
  backend: Server,
  url: string,
  seconds: number,
  connections = CONNECTIONS,
): Promise<Load> {
  const body = await (await fetch(url)).text();
  if (body.length !== BODY_BYTES) throw new Error(`${url} answered ${body.length} bytes`);
  const before = await served(backend);
  const result = await load(url, connections, seconds);
  const arrived = (await served(backend)) - before;
  if (arrived < result.requests)
    throw new Error(`${url}: ${result.requests} answers, ${arrived} requests at the backend`);
  return result;
}

function cpuContender(server: Server, backend: Server, seconds: number): Contender {
  return {
    who: server.who,
    once: async () => {
      const before = await cpuMicros(server.pid);
      const { requests } = await checked(backend, `http://127.0.0.1:${server.port}/`, seconds);
      return ((await cpuMicros(server.pid)) - before) / requests;
    },
  };
}

function speedContender(
  server: Server,
  who: string,
  backend: Server,
  seconds: number,
  connections: number,
): Contender {
  return {
    who,
    once: async () => {
      const url = `http://127.0.0.1:${server.port}/`;
      return 1_000_000 / (await checked(backend, url, seconds, connections)).perSecond;
    },
  };
}

async function proxies(backend: Server, servers: Server[], options: BenchmarkOptions): Promise<Results[]> {
  const seconds = options.quick ? 1 : 2;
  const rounds = { rounds: 10, warmUpRounds: 2 };
  const direct = (connections: number): Contender =>
    speedContender(backend, 'direct (no proxy)', backend, seconds, connections);
  return [
    await compare(
      {
        case: `proxy, ${CONNECTIONS} connections: its CPU a request`,
        metric: 'CPU of the proxy a request',
        unit: 'µs',
        contenders: servers.map((server) => cpuContender(server, backend, seconds)),
        ...rounds,
      },
      options,
    ),
    await compare(
      {
        case: `proxy, ${CONNECTIONS} connections: time a request`,
        metric: 'time a request',
        unit: 'µs',
        contenders: [
          ...servers.map((server) => speedContender(server, server.who, backend, seconds, CONNECTIONS)),
          direct(CONNECTIONS),
        ],
        ...rounds,
      },
      options,
    ),
    await compare(
      {
        case: 'proxy, 1 connection: latency',
        metric: 'latency',
        unit: 'µs',
        contenders: [
          ...servers.map((server) => speedContender(server, server.who, backend, seconds, 1)),
          direct(1),
        ],
        ...rounds,
      },
      options,
    ),
  ];
}

/** Calls from this process: MeshClient against the same fetch and pool without the mesh. */
async function clients(backend: Server, options: BenchmarkOptions): Promise<Results> {
  await using store = new MemoryStateStore();
  await using registry = new ServiceRegistry({ store });
  await registry.register({ service: 'echo', address: '127.0.0.1', ports: { http: backend.port } });
  await using client = new MeshClient({ catalog: registry.catalog });
  const requests = options.quick ? 1_000 : 4_000;
  const contender = (
    who: string,
    url: string,
    fetchOne: (url: string) => Promise<{ bytes(): Promise<Uint8Array> }>,
  ): Contender => ({
    who,
    once: async () => {
      const before = process.cpuUsage();
      let left = requests;
      const worker = async (): Promise<void> => {
        while (left > 0) {
          left -= 1;
          const { length } = await (await fetchOne(url)).bytes();
          if (length !== BODY_BYTES) throw new Error(`${url} answered ${length} bytes`);
        }
      };
      await Promise.all(Array.from({ length: CONNECTIONS }, worker));
      const { user, system } = process.cpuUsage(before);
      return (user + system) / requests;
    },
  });
  return await compare(
    {
      case: `in-process fetch, ${CONNECTIONS} at once: its CPU a request`,
      metric: 'CPU of the caller a request',
      unit: 'µs',
      contenders: [
        contender('heptad', 'http://echo/', (url) => client.fetch(url)),
        // MeshClient leaves addresses alone: the same fetch of the same undici, without the mesh.
        contender('undici fetch', `http://127.0.0.1:${backend.port}/`, (url) => client.fetch(url)),
      ],
      rounds: 10,
    },
    options,
  );
}

/** See the file's first line. */
export const benchmark: Benchmark = {
  description: 'one service calls another: direct, MeshClient, NodeProxy, nginx, HAProxy',
  async run(options) {
    await access('/usr/bin/wrk').catch(() => {
      throw new Error('wrk is not installed: apt-get install wrk');
    });
    const directory = await mkdtemp(join(tmpdir(), 'heptad-bench-'));
    await using stack = new AsyncDisposableStack();
    stack.defer(() => rm(directory, { recursive: true }));
    const backend = stack.use(await startNode('backend', 'backend.ts'));
    const servers = [stack.use(await startNode('heptad', 'proxy.ts', await freePort(), backend.port))];
    for (const [name, start] of [
      ['nginx', startNginx],
      ['haproxy', startHaproxy],
    ] as const) {
      try {
        servers.push(stack.use(await start(directory, backend.port)));
      } catch (error) {
        options.say(`measuring without ${name}: ${String(error)} (apt-get install ${name})`);
      }
    }
    const results = [...(await proxies(backend, servers, options)), await clients(backend, options)];
    return {
      rows: results.flatMap(({ rows }) => rows),
      ratios: results.flatMap(({ ratios }) => ratios),
      versions: Object.fromEntries(servers.slice(1).map(({ who, version }) => [who, version])),
    };
  },
};
