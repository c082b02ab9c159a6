// One small cloud for integration tests: a store, a controller, and agents over real child processes.

import {
  type ContainerResource,
  MemoryStateStore,
  type NodeResource,
  Resources,
  type StateStore,
} from '@heptad/core';
import {
  ContainerOrchestrator,
  NodeAgent,
  type NodeAgentOptions,
  type ServiceSpecInput,
} from '@heptad/orchestrator';
import { ChildProcessRuntime } from './child-process-runtime.ts';

/** Port all test programs listen on, on an address of their own. */
export const PORT = 18_080;

const serve = (version: string, health = '200'): string => `
const { createServer } = require('node:http');
let failing = false;
const server = createServer((request, response) => {
  if (request.url === '/fail') { failing = true; response.end('failing'); return; }
  if (request.url === '/exit') { response.end('bye'); setTimeout(() => process.exit(3), 5); return; }
  response.statusCode = request.url === '/health' ? (failing ? 500 : ${health}) : 200;
  response.end(${JSON.stringify(version)} + ' ' + (process.env.GREETING ?? ''));
});
server.listen(${PORT}, process.env.HOST);
process.on('SIGTERM', () => { server.close(() => process.exit(0)); setTimeout(() => process.exit(0), 300); });
`;

/** Programs of the test runtime, by image. */
export const PROGRAMS: Readonly<Record<string, string>> = {
  'web:1': serve('v1'),
  'web:2': serve('v2'),
  'web:sick': serve('sick', '500'),
  'web:crash': 'setTimeout(() => process.exit(7), 20)',
  'job:1': 'setTimeout(() => process.exit(0), 50)',
  'job:bad': 'setTimeout(() => process.exit(2), 20)',
};

export const NOTHING = { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 } as const;

/** A spec of the test programs. */
export function webSpec(change: Partial<ServiceSpecInput> = {}): ServiceSpecInput {
  return {
    image: 'web:1',
    replicas: 3,
    resources: { requests: { ...NOTHING, cpuMillis: 100 }, limits: {} },
    ports: [{ name: 'http', port: PORT }],
    environment: {},
    healthCheck: {
      http: { path: '/health', port: PORT },
      intervalMs: 200,
      // Generous: on a busy machine a probe may wait for its turn, and a restart would be right then.
      timeoutMs: 3_000,
      retries: 3,
      startIntervalMs: 50,
    },
    dependencies: [],
    labels: {},
    volumes: [],
    stopGraceMs: 2_000,
    ...change,
  };
}

/** See the file's first line. */
export class World implements AsyncDisposable {
  readonly store: StateStore;
  readonly orchestrator: ContainerOrchestrator;
  readonly runtimes: Map<string, ChildProcessRuntime> = new Map();
  readonly agents: Map<string, NodeAgent> = new Map();
  readonly errors: unknown[] = [];
  readonly containers: Resources<'Container'>;
  readonly nodes: Resources<'Node'>;
  readonly endpoints: Resources<'Endpoint'>;

  constructor(options: { store?: StateStore; suspectMs?: number; downMs?: number } = {}) {
    this.store = options.store ?? new MemoryStateStore();
    this.orchestrator = new ContainerOrchestrator({
      store: this.store,
      drainMs: 150,
      suspectMs: options.suspectMs ?? 2_000,
      downMs: options.downMs ?? 4_000,
      onError: (error) => this.errors.push(error),
    });
    this.containers = new Resources(this.store, 'Container');
    this.nodes = new Resources(this.store, 'Node');
    this.endpoints = new Resources(this.store, 'Endpoint');
  }

  async addNode(name: string, options: Partial<NodeAgentOptions> = {}): Promise<NodeAgent> {
    const runtime = this.runtimes.get(name) ?? new ChildProcessRuntime(PROGRAMS);
    this.runtimes.set(name, runtime);
    const agent = new NodeAgent({
      store: this.store,
      runtime,
      node: {
        name,
        address: '127.0.0.1',
        capacity: { cpuMillis: 4_000, memoryBytes: 2 ** 32, storageBytes: 2 ** 34, networkMbps: 1_000 },
      },
      heartbeatMs: 300,
      resyncMs: 500,
      onError: (error) => this.errors.push(error),
      ...options,
    });
    await agent.start();
    await agent.registered;
    this.agents.set(name, agent);
    return agent;
  }

  async deploy(name: string, spec: ServiceSpecInput): Promise<void> {
    await this.orchestrator.deploy(name, spec);
    await this.orchestrator.waitFor(name, 'ready', { timeoutMs: 20_000 });
  }

  async replicas(service: string): Promise<ContainerResource[]> {
    return (await this.containers.list()).items.filter((container) => container.spec.service === service);
  }

  async node(name: string): Promise<NodeResource> {
    return this.nodes.get(name);
  }

  /** What a user's proxy would send to: addresses of ready endpoints. */
  async targets(service: string): Promise<string[]> {
    const { items } = await this.endpoints.list();
    return items
      .filter((endpoint) => endpoint.spec.service === service && endpoint.status.state === 'ready')
      .map((endpoint) => `http://${endpoint.spec.address}:${endpoint.spec.ports.http}`);
  }

  /** Running processes of all runtimes. */
  running(): string[] {
    return [...this.runtimes.values()].flatMap((runtime) =>
      [...runtime.entries.values()].map((entry) => entry.info.name),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.orchestrator.close();
    await Promise.all([...this.agents.values()].map((agent) => agent.close()));
    await Promise.all([...this.runtimes.values()].map((runtime) => runtime[Symbol.asyncDispose]()));
    await this.store[Symbol.asyncDispose]();
  }
}

/** Waits until `check` holds; the last failure is the error. */
export async function eventually(check: () => Promise<void> | void, timeoutMs = 15_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    try {
      await check();
      return;
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Lets everybody else run: the memory store answers without ever leaving the microtask queue. */
export function tick(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2));
}
