// The shop as child processes, over real storage nodes, a state store and an event bus served as the platform does.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { MemoryStateStore } from '@heptad/core';
import { SqliteEventBus, serveEventBus } from '@heptad/mesh/events';
import { DistributedStorage, StorageNode } from '@heptad/storage';
import { serveStateStore } from '@heptad/storage/state';

const STORAGE_TOKEN = 'the-storage-token-of-the-test';
const root = fileURLToPath(new URL('../../', import.meta.url));

export interface Replica {
  readonly name: string;
  readonly url: string;
  readonly child: ChildProcess;
  readonly log: string[];
  /** SIGKILL, and wait until it is gone. */
  kill(): Promise<void>;
}

export class TestShop implements AsyncDisposable {
  readonly storageNodes: StorageNode[] = [];
  readonly replicas: Replica[] = [];
  readonly #directory: string;
  readonly #bus: SqliteEventBus;
  readonly #state = new MemoryStateStore();
  readonly #storagePorts: number[] = [];
  #server: Server | undefined;
  #serverPort = 0;
  #storage: DistributedStorage | undefined;

  private constructor(directory: string) {
    this.#directory = directory;
    this.#bus = new SqliteEventBus({ path: join(directory, 'events.db') });
  }

  static async start(): Promise<TestShop> {
    const shop = new TestShop(await mkdtemp(join(tmpdir(), 'heptad-shop-')));
    for (const id of ['a', 'b', 'c']) shop.storageNodes.push(await shop.#startNode(id, 0));
    shop.#storagePorts.push(...shop.storageNodes.map((node) => Number(node.address.split(':')[1])));
    shop.#storage = new DistributedStorage({ nodes: shop.storageNodes, token: STORAGE_TOKEN });
    await shop.#storage.getClusterStatus();
    await writeFile(join(shop.#directory, 'token'), 'a-workload-token\n');
    await writeFile(join(shop.#directory, 'storage-token'), `${STORAGE_TOKEN}\n`);
    await shop.startServer();
    return shop;
  }

  /** The part of the platform's server that services use. */
  async startServer(): Promise<void> {
    const principal = { id: 'test', type: 'service' as const, roles: [] };
    const authorize = () => ({ allowed: true, because: [], auditLevel: 'NONE' as const });
    const state = serveStateStore(this.#state, { path: '/api/v1/state', authorize });
    const bus = serveEventBus(this.#bus);
    this.#server = createServer((request, response) => {
      if (request.headers.authorization !== 'Bearer a-workload-token') {
        response.writeHead(401).end();
        return;
      }
      const handled = request.url?.startsWith('/api/v1/state')
        ? state(request, response, principal)
        : bus(request, response);
      handled.catch(() => response.destroy());
    });
    this.#server.listen(this.#serverPort, '127.0.0.1');
    await once(this.#server, 'listening');
    const address = this.#server.address();
    this.#serverPort = typeof address === 'object' && address !== null ? address.port : 0;
  }

  async stopServer(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }

  /** Starts a replica; resolves when it is ready. */
  async service(service: 'catalog' | 'orders' | 'web', name: string): Promise<Replica> {
    const port = await freePort();
    const child = spawn(
      process.execPath,
      [
        '--conditions=heptad-source',
        '--disable-warning=ExperimentalWarning',
        join(root, 'src', `${service}.ts`),
      ],
      { env: { ...process.env, ...this.#environment(name, port) }, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const log: string[] = [];
    createInterface({ input: child.stdout }).on('line', (line) => log.push(line));
    createInterface({ input: child.stderr }).on('line', (line) => log.push(line));
    const url = `http://127.0.0.1:${port}`;
    const kill = async (): Promise<void> => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    };
    const replica = { name, url, child, log, kill };
    this.replicas.push(replica);
    await eventually(
      async () => {
        if (child.exitCode !== null) throw new Error(`${name} ended: ${log.join('\n')}`);
        return (await fetch(`${url}/readyz`).catch(() => undefined))?.ok === true;
      },
      `${name} ready:\n${log.join('\n')}`,
    );
    return replica;
  }

  async killStorageNode(at: number): Promise<void> {
    await this.storageNodes[at]?.close();
  }

  async restartStorageNode(at: number): Promise<void> {
    const old = this.storageNodes[at];
    if (old === undefined) throw new Error(`no storage node ${at}`);
    this.storageNodes[at] = await this.#startNode(old.id, this.#storagePorts[at] ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.replicas.map((replica) => replica.kill()));
    await this.stopServer();
    await this.#storage?.close();
    await Promise.all(this.storageNodes.map((node) => node.close()));
    await this.#bus.close();
    await this.#state[Symbol.asyncDispose]();
    await rm(this.#directory, { recursive: true, force: true });
  }

  #startNode(id: string, port: number): Promise<StorageNode> {
    const directory = join(this.#directory, id);
    return StorageNode.start({ id, directory, port, capacityBytes: 1024 ** 3, token: STORAGE_TOKEN });
  }

  // Services find each other through the same variables the platform sets.
  #environment(name: string, port: number): Record<string, string> {
    const environment: Record<string, string> = {
      HOST: '127.0.0.1',
      PORT: String(port),
      DRAIN_MS: '100',
      HEPTAD_REPLICA: name,
      HEPTAD_SERVER: `http://127.0.0.1:${this.#serverPort}`,
      HEPTAD_TOKEN_FILE: join(this.#directory, 'token'),
      HEPTAD_STORAGE_NODES: this.storageNodes.map((node) => node.address).join(','),
      HEPTAD_STORAGE_TOKEN_FILE: join(this.#directory, 'storage-token'),
    };
    for (const service of ['catalog', 'orders']) {
      const replica = this.replicas.find((candidate) => candidate.name.startsWith(service));
      if (replica === undefined) continue;
      environment[`${service.toUpperCase()}_SERVICE_HOST`] = '127.0.0.1';
      environment[`${service.toUpperCase()}_SERVICE_PORT`] = new URL(replica.url).port;
    }
    return environment;
  }
}

async function freePort(): Promise<number> {
  const server = createTcpServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Waits until `check` holds. */
export async function eventually(
  check: () => Promise<boolean>,
  what: string,
  limitMs = 30_000,
): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
